//! Variations of an input, for short runs without the guidance of coverage.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Inputs are kept below this, as most readers' interesting cases are short.
const LONGEST: usize = 4096;

/// Numbers at which readers tend to change their minds.
const EDGES: [u8; 8] = [0, 1, b'\n', b' ', 0x7f, 0x80, 0xfe, 0xff];

/// Makes inputs out of others.
pub struct Mutator {
    random: StdRng,
    words: &'static [&'static str],
}

impl Mutator {
    pub fn new(seed: u64, words: &'static [&'static str]) -> Self {
        Self { random: StdRng::seed_from_u64(seed), words }
    }

    /// One of these inputs with a few changes.
    pub fn vary(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.one_of(seeds).cloned().unwrap_or_default();
        for _ in 0..self.random.random_range(1..=6) {
            self.change(&mut input, seeds);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.random.random_range(0..=input.len());
        match self.random.random_range(0..8) {
            0 => {
                let bit = 1 << self.random.random_range(0..8);
                input.get_mut(at).into_iter().for_each(|byte| *byte ^= bit);
            }
            1 => {
                let edge = self.one_of(&EDGES).copied().unwrap_or_default();
                input.get_mut(at).into_iter().for_each(|byte| *byte = edge);
            }
            2 => input.insert(at, self.random.random()),
            3 => input.truncate(at),
            4 => drop(input.drain(self.piece(at, input.len()))),
            5 => {
                let piece = input.get(self.piece(at, input.len())).unwrap_or_default().to_vec();
                input.splice(at..at, piece);
            }
            6 => {
                let words = self.words;
                let word = self.one_of(words).copied().unwrap_or_default();
                input.splice(at..at, word.bytes());
            }
            _ => {
                let other = self.one_of(seeds).map(Vec::as_slice).unwrap_or_default();
                let from = self.random.random_range(0..=other.len());
                input.truncate(at);
                input.extend(other.iter().skip(from));
            }
        }
    }

    /// A short range from `at` on.
    fn piece(&mut self, at: usize, length: usize) -> std::ops::Range<usize> {
        at..length.min(at + self.random.random_range(1..=16))
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let index = self.random.random_range(0..all.len().max(1));
        all.get(index)
    }
}
