//! What this machine has: memory and processors.

use std::fs;
use std::thread;

/// Memory of the machine in MiB. Zeros when the kernel does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    pub total_mib: u64,
    /// What new processes can take without pushing others out.
    pub available_mib: u64,
}

pub fn memory() -> Memory {
    parse(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn parse(table: &str) -> Memory {
    let mib = |name: &str| {
        let line = table.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kibibytes / 1024)
    };
    Memory {
        total_mib: mib("MemTotal:").unwrap_or_default(),
        available_mib: mib("MemAvailable:").unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_mebibytes() {
        let table = "MemTotal:       24684008 kB\nMemFree:  1 kB\nMemAvailable:   24327168 kB\n";
        assert_eq!(parse(table), Memory { total_mib: 24_105, available_mib: 23_757 });
        assert_eq!(parse(""), Memory::default());
    }
}
