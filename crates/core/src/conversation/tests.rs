//! Sentences about conversations, and random interleavings held against what every log must look like.

mod answers;
mod forks;
mod interleavings;
mod money;
mod scene;
mod turns;
