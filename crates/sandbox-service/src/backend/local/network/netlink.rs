//! The few requests to the kernel's routing socket that a sandbox's network needs: links, addresses, routes.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

/// Of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Of `linux/veth.h`.
const VETH_INFO_PEER: u16 = 1;
/// `struct ifaddrmsg` has one byte for flags.
const NO_DUPLICATE_DETECTION: u8 = 0x02;

/// A routing socket of the network namespace in which it was opened, wherever its holder goes afterwards.
pub(super) struct Routing {
    socket: OwnedFd,
}

/// A network device, by the number that it has or is to have in its namespace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Device<'a> {
    pub(super) index: i32,
    pub(super) name: &'a str,
}

/// The loopback device of every network namespace.
pub(super) const LOOPBACK: Device<'static> = Device { index: 1, name: "lo" };

impl Routing {
    pub(super) fn open() -> io::Result<Self> {
        let (family, kind) = (AddressFamily::Netlink, SockType::Raw);
        let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
        Ok(Self { socket })
    }

    pub(super) fn bring_up(&self, device: Device<'_>) -> io::Result<()> {
        let up = libc::IFF_UP.cast_unsigned();
        self.request(Request::new(libc::RTM_NEWLINK, 0).bytes(&link(device.index, up)))
    }

    /// A cable: what goes in at `here` comes out at `there`, in the other namespace.
    pub(super) fn add_cable(
        &self,
        here: Device<'_>,
        there: Device<'_>,
        namespace_of_there: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let namespace = namespace_of_there.as_raw_fd().to_ne_bytes();
        let request = Request::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL)
            .bytes(&link(here.index, 0))
            .attribute(libc::IFLA_IFNAME, &terminated(here.name))
            .nested(libc::IFLA_LINKINFO, |info| {
                info.attribute(libc::IFLA_INFO_KIND, b"veth").nested(libc::IFLA_INFO_DATA, |data| {
                    data.nested(VETH_INFO_PEER, |peer| {
                        peer.bytes(&link(there.index, 0))
                            .attribute(libc::IFLA_IFNAME, &terminated(there.name))
                            .attribute(libc::IFLA_NET_NS_FD, &namespace)
                    })
                })
            });
        self.request(request)
    }

    pub(super) fn add_address(
        &self,
        device: Device<'_>,
        address: IpAddr,
        prefix: u8,
    ) -> io::Result<()> {
        let octets = octets(address);
        let mut head =
            vec![family(address), prefix, NO_DUPLICATE_DETECTION, libc::RT_SCOPE_UNIVERSE];
        head.extend(device.index.to_ne_bytes());
        let request = Request::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL)
            .bytes(&head)
            .attribute(libc::IFA_LOCAL, &octets)
            .attribute(libc::IFA_ADDRESS, &octets);
        self.request(request)
    }

    /// Everything that no other route leads elsewhere goes to `gateway`.
    pub(super) fn add_default_route(&self, device: Device<'_>, gateway: IpAddr) -> io::Result<()> {
        let kind = Route { to: None, table: libc::RT_TABLE_MAIN, scope: libc::RT_SCOPE_UNIVERSE };
        let request = kind.request(family(gateway), libc::RTN_UNICAST, device);
        self.request(request.attribute(libc::RTA_GATEWAY, &octets(gateway)))
    }

    /// Every address of the family becomes this namespace's own, but those with a route of their own.
    pub(super) fn make_all_local(&self, family: u8) -> io::Result<()> {
        let kind = Route { to: None, table: libc::RT_TABLE_LOCAL, scope: libc::RT_SCOPE_HOST };
        self.request(kind.request(family, libc::RTN_LOCAL, LOOPBACK))
    }

    /// Keeps one address from being taken for a local one.
    pub(super) fn except_from_local(&self, device: Device<'_>, to: IpAddr) -> io::Result<()> {
        let kind = Route { to: Some(to), table: libc::RT_TABLE_LOCAL, scope: libc::RT_SCOPE_LINK };
        self.request(kind.request(family(to), libc::RTN_UNICAST, device))
    }

    /// Sends one request and waits for the kernel's word on it.
    fn request(&self, request: Request) -> io::Result<()> {
        let socket = self.socket.as_raw_fd();
        send(socket, &request.finish(), MsgFlags::empty())?;
        let mut answer = [0; 4096];
        let length = recv(socket, &mut answer, MsgFlags::empty())?;
        // `struct nlmsgerr`: the error as a negative number, or 0.
        let error = answer.get(..length).and_then(|answer| answer.get(HEADER..HEADER + 4));
        let error = error.and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        match error.map(i32::from_ne_bytes) {
            Some(0) => Ok(()),
            Some(error) => Err(Errno::from_raw(-error).into()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

struct Route {
    to: Option<IpAddr>,
    table: u8,
    scope: u8,
}

impl Route {
    fn request(&self, family: u8, kind: u8, device: Device<'_>) -> Request {
        let to = self.to.map(octets).unwrap_or_default();
        let prefix = u8::try_from(to.len() * 8).unwrap_or(u8::MAX);
        // `struct rtmsg`; four bytes of flags at its end.
        let head =
            [family, prefix, 0, 0, self.table, libc::RTPROT_STATIC, self.scope, kind, 0, 0, 0, 0];
        let request = Request::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        let request = request.bytes(&head).attribute(libc::RTA_OIF, &device.index.to_ne_bytes());
        if to.is_empty() { request } else { request.attribute(libc::RTA_DST, &to) }
    }
}

/// A message that is being written: its head, and attributes padded to four bytes.
struct Request {
    kind: u16,
    flags: i32,
    body: Vec<u8>,
}

impl Request {
    fn new(kind: u16, flags: i32) -> Self {
        Self { kind, flags, body: Vec::new() }
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.body.extend_from_slice(bytes);
        self
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.body.extend(length.to_ne_bytes());
        self.body.extend(kind.to_ne_bytes());
        self.body.extend_from_slice(value);
        self.body.resize(self.body.len().next_multiple_of(4), 0);
        self
    }

    fn nested(self, kind: u16, write: impl FnOnce(Self) -> Self) -> Self {
        let inner = write(Self::new(0, 0));
        self.attribute(kind, &inner.body)
    }

    fn finish(self) -> Vec<u8> {
        let flags = self.flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK;
        let mut message = Vec::with_capacity(HEADER + self.body.len());
        message.extend(u32::try_from(HEADER + self.body.len()).unwrap_or(u32::MAX).to_ne_bytes());
        message.extend(self.kind.to_ne_bytes());
        message.extend(u16::try_from(flags).unwrap_or_default().to_ne_bytes());
        message.extend([0; 8]);
        message.extend(self.body);
        message
    }
}

/// `struct ifinfomsg`: `flags` are set, and no others touched.
fn link(index: i32, flags: u32) -> [u8; 16] {
    let mut head = [0; 16];
    for (place, value) in
        [(4, index.to_ne_bytes()), (8, flags.to_ne_bytes()), (12, flags.to_ne_bytes())]
    {
        if let Some(field) = head.get_mut(place..place + 4) {
            field.copy_from_slice(&value);
        }
    }
    head
}

fn terminated(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    u8::try_from(family).unwrap_or_default()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_nested() {
        let request = Request::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE)
            .bytes(&[7; 4])
            .nested(libc::IFLA_LINKINFO, |info| info.attribute(libc::IFLA_INFO_KIND, b"veth\0"));
        let message = request.finish();
        assert_eq!(message[..4], 36_u32.to_ne_bytes());
        assert_eq!(message[4..6], libc::RTM_NEWLINK.to_ne_bytes());
        assert_eq!(message[6..8], 0x405_u16.to_ne_bytes());
        assert_eq!(message[16..20], [7; 4]);
        assert_eq!(message[20..22], 16_u16.to_ne_bytes());
        assert_eq!(message[24..26], 9_u16.to_ne_bytes());
        assert_eq!(message[28..], *b"veth\0\0\0\0");
    }

    #[test]
    fn the_kernel_s_refusal_is_told() {
        let refused = Routing::open().unwrap().bring_up(Device { index: 1 << 30, name: "none" });
        assert!(refused.is_err());
    }
}
