//! Words that say when the model let them go.

use std::time::{SystemTime, UNIX_EPOCH};

/// Puts words of the form `w7@<unix µs>` together from fragments.
#[derive(Default)]
pub struct Words(String);

impl Words {
    /// The times at which the words that are complete now left the model.
    pub fn read(&mut self, text: &str) -> Vec<f64> {
        self.0.push_str(text);
        let mut left_at = Vec::new();
        while let Some(end) = self.0.find(' ') {
            let word: String = self.0.drain(..=end).collect();
            left_at.extend(word.trim().split('@').nth(1).and_then(|time| time.parse::<f64>().ok()));
        }
        left_at
    }
}

/// Unix time in microseconds.
pub fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs_f64() * 1e6
}
