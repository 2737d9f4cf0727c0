//! What was measured, as a table for each part and as JSON.

use super::rows::{Growth, ROWS, Row, SIZES, Target};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The values of all rows at all sizes, and what is to be said about them.
#[derive(Default)]
pub struct Report {
    points: BTreeMap<(&'static str, &'static str), BTreeMap<u64, f64>>,
    notes: Vec<(&'static str, String)>,
    failures: Vec<(&'static str, String)>,
}

impl Report {
    /// Takes a value.
    pub fn add(&mut self, part: &'static str, row: &'static str, size: u64, value: f64) {
        assert!(ROWS.iter().any(|r| (r.part, r.name) == (part, row)), "no row {part}: {row}");
        eprintln!("   {row} at {}: {}", size_text(part, size), short(value));
        self.points.entry((part, row)).or_default().insert(size, value);
    }

    /// Something a reader must know.
    pub fn note(&mut self, part: &'static str, text: String) {
        eprintln!("   {text}");
        self.notes.push((part, text));
    }

    /// A check that failed.
    pub fn fail(&mut self, part: &'static str, text: String) {
        eprintln!("   failed: {text}");
        self.failures.push((part, text));
    }

    /// Checks that failed.
    pub fn failures(&self) -> usize {
        self.failures.len()
    }

    /// A table for each part that was measured, and what was said.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (part, counted) in SIZES {
            let sizes: BTreeSet<u64> = self
                .points
                .iter()
                .filter(|((of, _), _)| of == part)
                .flat_map(|(_, values)| values.keys().copied())
                .collect();
            if sizes.is_empty() {
                continue;
            }
            text += &match counted {
                counted if counted == part => format!("| {part} | unit |"),
                counted => format!("| {part}, by {counted} | unit |"),
            };
            sizes.iter().for_each(|size| text += &format!(" {} |", size_text(part, *size)));
            text += " cost of a unit grew |\n|---|---|";
            (0..=sizes.len()).for_each(|_| text += "---|");
            text += "\n";
            for row in ROWS.iter().filter(|row| row.part == *part) {
                self.line(&mut text, row, &sizes);
            }
            text += "\n";
            let notes = self.notes.iter().filter(|(of, _)| of == part);
            notes.for_each(|(_, note)| text += &format!("{part}: {note}\n\n"));
        }
        for (part, failure) in &self.failures {
            // Writing to a string does not fail.
            let _ = writeln!(text, "failed: {part}: {failure}");
        }
        text
    }

    fn line(&self, text: &mut String, row: &Row, sizes: &BTreeSet<u64>) {
        let Some(values) = self.points.get(&(row.part, row.name)) else { return };
        *text += &format!("| {} | {} |", row.name, row.unit);
        for size in sizes {
            *text +=
                &values.get(size).map_or(" |".to_owned(), |value| format!(" {} |", short(*value)));
        }
        let grew = growth(row.growth, values).map(|grew| format!("{grew:.2}x")).unwrap_or_default();
        *text += &format!(" {grew}{} |\n", verdict(row, values));
    }

    /// Every value. Names need no escapes; texts get them.
    pub fn json(&self, scale: f64) -> String {
        let rows = self.points.iter().map(|((part, name), values)| {
            let row = ROWS.iter().find(|r| (r.part, r.name) == (*part, *name));
            let unit = row.map_or("", |row| row.unit);
            let grew = row.and_then(|row| growth(row.growth, values));
            let grew = grew.map_or("null".to_owned(), |grew| grew.to_string());
            let points: Vec<String> =
                values.iter().map(|(size, value)| format!("[{size}, {value}]")).collect();
            format!(
                "  {{\"part\": \"{part}\", \"row\": \"{name}\", \"unit\": \"{unit}\", \"growth\": {grew}, \"points\": [{}]}}",
                points.join(", ")
            )
        });
        let rows = rows.collect::<Vec<_>>().join(",\n");
        let texts = |list: &[(&str, String)]| {
            let texts = list.iter().map(|(part, text)| format!("\"{part}: {}\"", escaped(text)));
            texts.collect::<Vec<_>>().join(", ")
        };
        let (notes, failures) = (texts(&self.notes), texts(&self.failures));
        format!(
            "{{\"scale\": {scale}, \"notes\": [{notes}], \"failures\": [{failures}], \"rows\": [\n{rows}\n]}}\n"
        )
    }
}

/// How many times as much one unit of work costs at the largest size as at the smallest.
fn growth(growth: Growth, values: &BTreeMap<u64, f64>) -> Option<f64> {
    let ((small, first), (large, last)) = (values.first_key_value()?, values.last_key_value()?);
    if small == large {
        return None;
    }
    let grew = match growth {
        Growth::Rate => first / last,
        Growth::Each => last / first,
        Growth::Whole => (last / *large as f64) / (first / *small as f64),
        Growth::Told => return None,
    };
    // Memory that was free before counts as none.
    grew.is_finite().then_some(grew)
}

fn verdict(row: &Row, values: &BTreeMap<u64, f64>) -> String {
    let (is_above, most) = match row.target {
        Target::Free => return String::new(),
        Target::Growth(most) => (growth(row.growth, values).is_some_and(|g| g > most), most),
        Target::Value(most) => (values.values().any(|value| *value > most), most),
    };
    match (is_above, row.target) {
        (true, _) => format!(" (above the target of {most})"),
        (false, Target::Value(_)) => format!(" (target: {most} {})", row.unit),
        (false, _) => format!(" (target: {most}x)"),
    }
}

/// A size as people say it.
fn size_text(part: &str, size: u64) -> String {
    let is_mib = SIZES.contains(&(part, "MiB"));
    match size {
        _ if is_mib && size.is_multiple_of(1024) => format!("{} GiB", size / 1024),
        _ if is_mib => format!("{size} MiB"),
        _ if size.is_multiple_of(1_000_000) => format!("{} M", size / 1_000_000),
        _ if size.is_multiple_of(1000) => format!("{} k", size / 1000),
        _ => size.to_string(),
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

fn escaped(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.collect::<String>().replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_table_compares_the_cost_of_one_unit() {
        let mut report = Report::default();
        for (size, rate, time) in [(1000, 200.0, 5.0), (1_000_000, 100.0, 9.0)] {
            report.add("namespace", "create", size, rate);
            report.add("namespace", "lookup warm", size, time);
        }
        for (size, time) in [(10, 1.0), (1000, 50.0)] {
            report.add("sessions", "change told to all", size, time);
        }
        report.note("sessions", "a \"note\"".into());
        report.fail("cache", "too large".into());
        let text = report.text();
        let head = "| namespace, by files | unit | 1 k | 1 M | cost of a unit grew |\n";
        assert!(text.contains(head), "{text}");
        assert!(text.contains("| create | /s | 200 | 100 | 2.00x |\n"), "{text}");
        assert!(text.contains("| 5.00 | 9.00 | 1.80x (above the target of 1.5) |\n"), "{text}");
        assert!(text.contains("| ms | 1.00 | 50.0 | 0.50x |\n"), "{text}");
        assert!(text.contains("failed: cache: too large\n"), "{text}");
        assert_eq!(report.failures(), 1);
        let json = report.json(1.0);
        assert!(
            json.contains("\"growth\": 2, \"points\": [[1000, 200], [1000000, 100]]"),
            "{json}"
        );
        assert!(json.contains("\"sessions: a \\\"note\\\"\""), "{json}");
    }
}
