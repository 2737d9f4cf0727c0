//! Values of options. Every function fails with the end of a message that begins with the word as
//! the user wrote it.

use std::path::PathBuf;
use std::time::Duration;

/// Longest time an option may state: a day.
const SECONDS_MAX: u64 = 24 * 3600;

/// A size with an optional suffix k, m, g or t (powers of 1024), at least `least`.
pub fn size(text: &str, least: u64) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => Some(0),
        "k" => Some(10),
        "m" => Some(20),
        "g" => Some(30),
        "t" => Some(40),
        _ => None,
    };
    let bytes = match (digits.parse::<u64>(), shift) {
        (Ok(count), Some(shift)) if !digits.starts_with('+') => count.checked_mul(1 << shift),
        _ => None,
    };
    match bytes {
        None => Err("is not a size: write a number with k, m, g or t, as in 10g".to_owned()),
        Some(bytes) if bytes < least => Err(format!("is less than {}m", least >> 20)),
        Some(bytes) => Ok(bytes),
    }
}

/// Whole seconds from 1 to a day.
pub fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(n) if (1..=SECONDS_MAX).contains(&n) && !text.starts_with('+') => {
            Ok(Duration::from_secs(n))
        }
        _ => Err(format!("is not a number of seconds from 1 to {SECONDS_MAX}")),
    }
}

/// One of several words.
pub fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
    Err(format!("is unknown: write {}", words.join(" or ")))
}

/// An absolute path: the daemon works in `/`.
pub fn path(text: &str) -> Result<PathBuf, String> {
    if text.starts_with('/') {
        return Ok(PathBuf::from(text));
    }
    Err("is not an absolute path".to_owned())
}
