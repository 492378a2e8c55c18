//! Addresses that stand for names: what a program connects to after it asked for a name, and what is told to the door instead.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Addresses of which no program means one, so that they can stand for names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    first: Ipv4Addr,
    bits: u32,
}

impl Block {
    /// Set aside for measurements (RFC 2544).
    pub(super) const MEASUREMENTS: Self = Self { first: Ipv4Addr::new(198, 18, 0, 0), bits: 15 };
    /// A part of the loopback network: connections to it never leave the machine.
    pub(super) const LOOPBACK: Self = Self { first: Ipv4Addr::new(127, 64, 0, 0), bits: 10 };

    fn contains(self, address: Ipv4Addr) -> bool {
        (u32::from(address) ^ u32::from(self.first)) >> (u32::BITS - self.bits) == 0
    }

    fn address(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.first) + number)
    }
}

/// Names that are remembered. Then the one that was not used for longest gives its address to the next.
const MOST: u32 = 65_534;

/// Which address stands for which name.
#[derive(Debug)]
pub(super) struct Names {
    block: Block,
    most: u32,
    known: HashMap<Arc<str>, Place>,
    numbers: HashMap<u32, Arc<str>>,
    /// Places by when they were used last.
    uses: BTreeMap<u64, u32>,
    last_use: u64,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    number: u32,
    last_use: u64,
}

impl Default for Names {
    fn default() -> Self {
        Self::in_block(Block::MEASUREMENTS)
    }
}

impl Names {
    pub(super) fn in_block(block: Block) -> Self {
        Self::with_room_for(MOST, block)
    }

    fn with_room_for(most: u32, block: Block) -> Self {
        Self {
            block,
            most,
            known: HashMap::new(),
            numbers: HashMap::new(),
            uses: BTreeMap::new(),
            last_use: 0,
        }
    }

    /// The address of a name: the same each time, as long as the name is remembered.
    pub(super) fn address_of(&mut self, name: &str) -> Ipv4Addr {
        if let Some(place) = self.known.get(name).copied() {
            self.use_again(name, place);
            return self.block.address(place.number);
        }
        let number = self.free_place();
        let name: Arc<str> = name.into();
        self.last_use += 1;
        self.uses.insert(self.last_use, number);
        self.known.insert(Arc::clone(&name), Place { number, last_use: self.last_use });
        self.numbers.insert(number, name);
        self.block.address(number)
    }

    /// The name that an address stands for.
    pub(super) fn name_of(&mut self, address: Ipv4Addr) -> Option<Arc<str>> {
        let number = u32::from(address).checked_sub(u32::from(self.block.first))?;
        let name = Arc::clone(self.numbers.get(&number)?);
        if let Some(place) = self.known.get(&name).copied() {
            self.use_again(&name, place);
        }
        Some(name)
    }

    /// Whether an address can only stand for a name.
    pub(super) fn stand_at(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.block.contains(address),
            IpAddr::V6(_) => false,
        }
    }

    fn use_again(&mut self, name: &str, place: Place) {
        self.last_use += 1;
        self.uses.remove(&place.last_use);
        self.uses.insert(self.last_use, place.number);
        if let Some(place) = self.known.get_mut(name) {
            place.last_use = self.last_use;
        }
    }

    fn free_place(&mut self) -> u32 {
        let taken = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        if taken >= self.most
            && let Some((_, number)) = self.uses.pop_first()
        {
            if let Some(name) = self.numbers.remove(&number) {
                self.known.remove(&name);
            }
            return number;
        }
        // The block's first address is nobody's.
        taken + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_address_and_an_address_its_name() {
        let mut names = Names::default();
        let first = names.address_of("one.example");
        let second = names.address_of("two.example");
        assert_ne!(first, second);
        assert_eq!(names.address_of("one.example"), first);
        assert_eq!(names.name_of(second).as_deref(), Some("two.example"));
        assert_eq!(names.name_of(Ipv4Addr::new(198, 18, 9, 9)), None);
        assert_eq!(names.name_of(Ipv4Addr::new(10, 0, 0, 1)), None);
        assert!(names.stand_at(first.into()));
    }

    #[test]
    fn the_name_that_was_not_used_for_longest_makes_room() {
        let mut names = Names::with_room_for(2, Block::LOOPBACK);
        let kept = names.address_of("kept.example");
        let forgotten = names.address_of("forgotten.example");
        // A connection is a use too.
        assert!(names.name_of(kept).is_some());
        assert_eq!(names.address_of("new.example"), forgotten);
        assert_eq!(names.name_of(forgotten).as_deref(), Some("new.example"));
        assert_eq!(names.address_of("kept.example"), kept);
        assert_eq!((names.known.len(), names.numbers.len(), names.uses.len()), (2, 2, 2));
    }

    #[test]
    fn a_block_ends_where_it_ends() {
        let blocks = [
            (
                Block::MEASUREMENTS,
                ["198.18.0.1", "198.19.255.255"],
                ["198.17.255.255", "198.20.0.0"],
            ),
            (Block::LOOPBACK, ["127.64.0.1", "127.127.255.255"], ["127.63.255.255", "127.128.0.0"]),
        ];
        for (block, within, beyond) in blocks {
            let names = Names::in_block(block);
            for address in within {
                assert!(names.stand_at(address.parse().unwrap()), "{address}");
            }
            for address in beyond.into_iter().chain(["::ffff:198.18.0.1", "1.1.1.1", "127.0.0.1"]) {
                assert!(!names.stand_at(address.parse().unwrap()), "{address}");
            }
        }
    }
}
