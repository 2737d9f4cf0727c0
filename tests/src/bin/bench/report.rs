//! What was measured, as a table of ratios and as JSON.

use crate::rows::{Better, ROWS, Row};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The values of all rows on all sides.
pub struct Report {
    labels: Vec<String>,
    scale: f64,
    values: BTreeMap<(&'static str, String), Vec<f64>>,
    failures: Vec<String>,
}

impl Report {
    /// Nothing measured yet.
    pub fn new(labels: Vec<String>, scale: f64) -> Report {
        Report { labels, scale, values: BTreeMap::new(), failures: Vec::new() }
    }

    /// Adds a value, or why there is none.
    pub fn add(&mut self, row: &'static str, label: &str, value: Result<f64, String>) {
        match value {
            Ok(value) => self.values.entry((row, label.to_owned())).or_default().push(value),
            Err(error) => {
                eprintln!("   {row} failed: {error}");
                self.failures.push(format!("{row} on {label}: {error}"));
            }
        }
    }

    /// Measurements that failed.
    pub fn failures(&self) -> usize {
        self.failures.len()
    }

    /// The best of all runs: what disturbs a run only makes it worse.
    fn best(&self, row: &Row, label: &str) -> Option<f64> {
        let values = self.values.get(&(row.name, label.to_owned()))?.iter().copied();
        match row.better {
            Better::Higher => values.reduce(f64::max),
            Better::Lower => values.reduce(f64::min),
        }
    }

    /// A line for each row that was measured: the value of the first side, and of each other side its
    /// value and how many times as good it is.
    pub fn table(&self) -> String {
        let mut text = String::from("| workload | unit |");
        self.labels.iter().for_each(|label| text += &format!(" {label} |"));
        text += "\n|---|---|";
        self.labels.iter().for_each(|_| text += "---|");
        text += "\n";
        for row in ROWS {
            let values: Vec<_> = self.labels.iter().map(|label| self.best(row, label)).collect();
            if values.iter().all(Option::is_none) {
                continue;
            }
            text += &format!("| {} | {} |", row.name, row.unit);
            for (number, value) in values.iter().enumerate() {
                let ratio = value.zip(values[0]).map(|(value, base)| match row.better {
                    Better::Higher => value / base,
                    Better::Lower => base / value,
                });
                text += &match (value, ratio) {
                    (Some(value), Some(ratio)) if number > 0 => {
                        format!(" {} ({ratio:.2}x) |", short(*value))
                    }
                    (Some(value), _) => format!(" {} |", short(*value)),
                    (None, _) => " failed |".to_owned(),
                };
            }
            text += "\n";
        }
        for failure in &self.failures {
            // Writing to a string does not fail.
            let _ = writeln!(text, "failed: {failure}");
        }
        text
    }

    /// Every sample. Names and labels need no escapes.
    pub fn json(&self) -> String {
        let samples = self.values.iter().map(|((row, label), values)| {
            let values: Vec<String> = values.iter().map(f64::to_string).collect();
            let unit = ROWS.iter().find(|known| known.name == *row).map_or("", |known| known.unit);
            let values = values.join(", ");
            format!(
                "  {{\"row\": \"{row}\", \"side\": \"{label}\", \"unit\": \"{unit}\", \"samples\": [{values}]}}"
            )
        });
        let samples = samples.collect::<Vec<_>>().join(",\n");
        format!("{{\"scale\": {}, \"values\": [\n{samples}\n]}}\n", self.scale)
    }
}

/// Three figures.
fn short(value: f64) -> String {
    match value {
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bench_table_shows_the_best_run_and_how_many_times_as_good_it_is() {
        let mut report = Report::new(vec!["disk".into(), "dfs".into()], 1.0);
        for (side, rate, seconds) in [("disk", 200.0, 1.0), ("dfs", 90.0, 3.0), ("dfs", 100.0, 4.0)]
        {
            report.add("create", side, Ok(rate));
            report.add("rm-rf", side, Ok(seconds));
        }
        report.add("mkdir", "dfs", Err("no room".into()));
        let table = report.table();
        assert!(table.contains("| create | /s | 200 | 100 (0.50x) |\n"), "{table}");
        assert!(table.contains("| rm-rf | s | 1.00 | 3.00 (0.33x) |\n"), "{table}");
        assert!(table.contains("failed: mkdir on dfs: no room\n"), "{table}");
        assert_eq!(report.failures(), 1);
        assert!(report.json().contains("\"samples\": [90, 100]"), "{}", report.json());
    }
}
