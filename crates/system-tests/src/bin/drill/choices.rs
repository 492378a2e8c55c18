//! Every choice of a drill follows from its seed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The choices of one actor. Each has its own, so that none depends on how fast the others are.
pub(crate) struct Choices(StdRng);

impl Choices {
    pub(crate) fn of(seed: u64, actor: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        (seed, actor).hash(&mut hasher);
        Self(StdRng::seed_from_u64(hasher.finish()))
    }

    pub(crate) fn number(&mut self, range: RangeInclusive<u32>) -> u32 {
        self.0.random_range(range)
    }

    pub(crate) fn milliseconds(&mut self, range: RangeInclusive<u32>) -> Duration {
        Duration::from_millis(self.number(range).into())
    }

    /// True this often in a hundred.
    pub(crate) fn happens(&mut self, percent: u32) -> bool {
        self.number(1..=100) <= percent
    }

    pub(crate) fn one_of<'few, T>(&mut self, few: &'few [T]) -> Option<&'few T> {
        let last = u32::try_from(few.len()).ok()?.checked_sub(1)?;
        few.get(usize::try_from(self.number(0..=last)).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_chooses_the_same_for_the_same_actor() {
        let numbers = |seed, actor| {
            let mut choices = Choices::of(seed, actor);
            [(); 8].map(|()| choices.number(0..=1000))
        };
        assert_eq!(numbers(7, "chaos"), numbers(7, "chaos"));
        assert_ne!(numbers(7, "chaos"), numbers(8, "chaos"));
        assert_ne!(numbers(7, "chaos"), numbers(7, "user 1"));
    }
}
