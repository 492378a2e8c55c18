//! One question about a name, and the answer that `init` gives to it.

use std::net::Ipv4Addr;

use platform_core::network::Host;

use super::names::Names;
use super::question::answer;

const HEAD: usize = 12;
/// What fits into a datagram that nobody asked to be longer.
const LONGEST: usize = 512;

/// The answer is one to this question, and what it gives an address leads to the same name again.
pub(crate) fn check(input: &[u8]) {
    let mut names = Names::default();
    let Some(told) = answer(input, &mut names) else { return };
    assert_eq!(told.get(..2), input.get(..2), "it answers another question");
    assert!(told.len() >= HEAD && told.len() <= LONGEST, "{} bytes", told.len());
    assert!(told.get(2).is_some_and(|flags| flags & 0x80 != 0), "it is no answer");
    assert_eq!(answer(input, &mut names).as_ref(), Some(&told), "the second answer is another one");
    assert_eq!(answer(&told, &mut names), None, "an answer is answered");
    let is_address = told.get(6..8) == Some(&[0, 1])
        && told.get(told.len() - 14..told.len() - 12) == Some(&[0, 1]);
    let Some(&[a, b, c, d]) = told.last_chunk::<4>().filter(|_| is_address) else { return };
    let address = Ipv4Addr::new(a, b, c, d);
    if address == Ipv4Addr::LOCALHOST {
        return;
    }
    assert!(names.stand_at(address.into()), "{address} is somebody's");
    let name = names.name_of(address);
    // It is what the door is told, so it has to be a name there as well.
    let host = name.as_deref().map(str::parse::<Host>);
    assert!(
        matches!(&host, Some(Ok(Host::Name(told))) if name.as_deref() == Some(told)),
        "{name:?}"
    );
}
