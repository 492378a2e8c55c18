//! worker: whatever is slow or due. Any number of replicas: each job is in the hands of one of them at a time.

pub mod jobs;
