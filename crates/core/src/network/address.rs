//! What kind of address a name resolved to: only public ones are reached from a sandbox, unless a team names the host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address leads. Sources: IANA's special-purpose registries for IPv4 and IPv6, and the clouds' own metadata addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressClass {
    Public,
    /// Hands out the machine's own credentials in clouds. Never reached, not even when a team names it.
    Metadata,
    Loopback,
    /// RFC 1918, unique-local, and the shared space between carriers and customers.
    Private,
    LinkLocal,
    Multicast,
    /// Nobody's, broadcast, for measurements, or for future use.
    Reserved,
}

impl AddressClass {
    pub fn as_words(self) -> &'static str {
        match self {
            Self::Public => "a public address",
            Self::Metadata => "a cloud's metadata service",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::LinkLocal => "a link-local address",
            Self::Multicast => "a multicast address",
            Self::Reserved => "a reserved address",
        }
    }
}

const METADATA_V4: [Ipv4Addr; 4] = [
    // AWS, Google, Azure and most others; ECS; Alibaba; Oracle's older one.
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];
/// Azure's wire server. Public by number, and answered by the host of every machine there.
const AZURE_WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// Says what an address is. IPv4 inside IPv6 in any of its notations (mapped, compatible, NAT64, 6to4, Teredo) counts as what is inside.
pub fn classify(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(address) => classify_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inside) => match classify_v4(inside) {
                // A public address in disguise is not what a resolver gives for a name.
                AddressClass::Public => AddressClass::Reserved,
                class @ (AddressClass::Metadata
                | AddressClass::Loopback
                | AddressClass::Private
                | AddressClass::LinkLocal
                | AddressClass::Multicast
                | AddressClass::Reserved) => class,
            },
            None => classify_v6(address),
        },
    }
}

fn classify_v4(address: Ipv4Addr) -> AddressClass {
    let [first, second, third, _] = address.octets();
    if METADATA_V4.contains(&address) || address == AZURE_WIRE_SERVER {
        return AddressClass::Metadata;
    }
    match (first, second, third) {
        (127, ..) => AddressClass::Loopback,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => AddressClass::Private,
        (169, 254, _) => AddressClass::LinkLocal,
        (224..=239, ..) => AddressClass::Multicast,
        // "This network", IETF assignments, the old 6to4 relay, measurements, and everything above multicast. The three ranges for
        // documentation are left out: nothing lives there that could be protected.
        (0 | 240..=255, ..) | (192, 0, 0) | (192, 88, 99) | (198, 18..=19, _) => {
            AddressClass::Reserved
        }
        _ => AddressClass::Public,
    }
}

fn classify_v6(address: Ipv6Addr) -> AddressClass {
    if METADATA_V6.contains(&address) {
        return AddressClass::Metadata;
    }
    if address.is_loopback() {
        return AddressClass::Loopback;
    }
    let [first, second, ..] = address.segments();
    match first {
        0xfc00..=0xfdff => AddressClass::Private,
        // Link-local, and the site-local ones that came before unique-local.
        0xfe80..=0xfeff => AddressClass::LinkLocal,
        0xff00..=0xffff => AddressClass::Multicast,
        // IETF protocol assignments and documentation are within 2001::/23 and 3fff::/20.
        0x2001 if second < 0x200 => AddressClass::Reserved,
        // Only 2000::/3 is given out.
        0x2000..=0x3fff => AddressClass::Public,
        _ => AddressClass::Reserved,
    }
}

/// The IPv4 address that an IPv6 address carries.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let last = || Some(Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]));
    match address.segments() {
        // ::1 and :: are themselves; everything else in ::/96 is "compatible".
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, ..]
        | [0, 0, 0, 0, 0xffff, 0, ..]
        // NAT64, the well-known prefix and the local ones.
        | [0x64, 0xff9b, 0, 0, 0, 0, ..]
        | [0x64, 0xff9b, 1, ..] => last(),
        [0x2002, ..] => Some(Ipv4Addr::new(octets[2], octets[3], octets[4], octets[5])),
        // Teredo: the client's address with its bits turned over.
        [0x2001, 0, ..] => Some(Ipv4Addr::new(!octets[12], !octets[13], !octets[14], !octets[15])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> AddressClass {
        classify(text.parse().unwrap())
    }

    #[test]
    fn metadata_is_recognised_in_every_notation() {
        for text in [
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::",
        ] {
            assert_eq!(class(text), AddressClass::Metadata, "{text}");
        }
    }

    #[test]
    fn what_is_not_public_is_told_apart() {
        for (text, expected) in [
            ("127.0.0.1", AddressClass::Loopback),
            ("127.255.255.255", AddressClass::Loopback),
            ("::1", AddressClass::Loopback),
            ("::ffff:127.0.0.1", AddressClass::Loopback),
            ("10.1.2.3", AddressClass::Private),
            ("172.31.255.255", AddressClass::Private),
            ("192.168.1.1", AddressClass::Private),
            ("100.64.0.1", AddressClass::Private),
            ("fd12::1", AddressClass::Private),
            ("64:ff9b::c0a8:101", AddressClass::Private),
            ("169.254.1.1", AddressClass::LinkLocal),
            ("fe80::1", AddressClass::LinkLocal),
            ("fec0::1", AddressClass::LinkLocal),
            ("224.0.0.1", AddressClass::Multicast),
            ("ff02::1", AddressClass::Multicast),
            ("0.0.0.0", AddressClass::Reserved),
            ("::", AddressClass::Reserved),
            ("255.255.255.255", AddressClass::Reserved),
            ("240.0.0.1", AddressClass::Reserved),
            ("198.18.0.1", AddressClass::Reserved),
            ("2001:0:1:2:3:4:5:6", AddressClass::Reserved),
            ("::ffff:8.8.8.8", AddressClass::Reserved),
            ("100::1", AddressClass::Reserved),
        ] {
            assert_eq!(class(text), expected, "{text}");
        }
    }

    #[test]
    fn public_addresses_are_public() {
        for text in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1"] {
            assert_eq!(class(text), AddressClass::Public, "{text}");
        }
    }
}
