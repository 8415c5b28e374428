//! Tells addresses of the public internet from those that must be granted.
//!
//! After the registries of special-purpose addresses, RFC 6890 and its updates.
//! Whatever is not known to be globally routable unicast is not public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of place an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Public,
    /// Private, loopback, shared, reserved: of this machine or its neighbours.
    Private,
    /// Where clouds hand out credentials to whoever asks: link-local, and the
    /// addresses that providers chose elsewhere.
    Metadata,
}

/// What a request may connect to. The later includes the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    Public,
    /// Private addresses too: a grant says so.
    Private,
    /// And metadata: the grant's host is this very address.
    Named,
}

impl Access {
    pub(super) fn permits(self, place: Place) -> bool {
        match place {
            Place::Public => true,
            Place::Private => self >= Self::Private,
            Place::Metadata => self == Self::Named,
        }
    }
}

/// Decides without looking anything up.
pub(super) fn place_of(address: IpAddr) -> Place {
    match address {
        IpAddr::V4(address) => place_of_v4(address),
        IpAddr::V6(address) => match inside(address) {
            Some(inside) => place_of_v4(inside),
            None => place_of_v6(address),
        },
    }
}

fn place_of_v4(address: Ipv4Addr) -> Place {
    match address.octets() {
        [169, 254, ..] => Place::Metadata,
        // Azure, Alibaba and Oracle.
        [168, 63, 129, 16] | [100, 100, 100, 200] | [192, 0, 0, 192] => Place::Metadata,
        [0 | 10 | 127, ..] => Place::Private,
        // Shared by the customers of a provider (RFC 6598).
        [100, second, ..] if second & 0xc0 == 64 => Place::Private,
        [172, second, ..] if second & 0xf0 == 16 => Place::Private,
        [192, 168, ..] => Place::Private,
        // Protocol assignments, documentation, relays of 6to4.
        [192, 0, 0 | 2, _] | [192, 88, 99, _] => Place::Private,
        [198, 51, 100, _] | [203, 0, 113, _] => Place::Private,
        // Benchmarks (RFC 2544).
        [198, 18 | 19, ..] => Place::Private,
        // Multicast, reserved, broadcast.
        [224..=255, ..] => Place::Private,
        _ => Place::Public,
    }
}

fn place_of_v6(address: Ipv6Addr) -> Place {
    match address.segments() {
        [first, ..] if first & 0xffc0 == 0xfe80 => Place::Metadata,
        // NAT64 of one's own (RFC 8215): any IPv4 address may be behind it, by a prefix we do not know.
        [0x0064, 0xff9b, 1, ..] => Place::Metadata,
        // AWS, Google and Scaleway.
        [0xfd00, 0x0ec2, ..] | [0xfd20, 0x00ce, ..] | [0xfd00, 0x0042, ..] => Place::Metadata,
        // Protocol assignments (Teredo among them, which was looked into before),
        // and documentation.
        [0x2001, second, ..] if second < 0x0200 || second == 0x0db8 => Place::Private,
        [0x3fff, second, ..] if second < 0x1000 => Place::Private,
        // All that is given out for the internet so far.
        [first, ..] if first & 0xe000 == 0x2000 => Place::Public,
        _ => Place::Private,
    }
}

/// The IPv4 address that is reached through an IPv6 one.
fn inside(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match address.segments() {
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // Compatible, mapped, translated.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => v4(high, low),
        // NAT64.
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // 6to4.
        [0x2002, high, low, ..] => v4(high, low),
        // Teredo: the client, inverted.
        [0x2001, 0, _, _, _, _, high, low] => v4(!high, !low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_routed_everywhere_is_public() {
        for (place, addresses) in [
            (
                Place::Public,
                &[
                    "1.1.1.1",
                    "9.255.255.255",
                    "11.0.0.0",
                    "100.63.255.255",
                    "100.128.0.0",
                    "126.255.255.255",
                    "128.0.0.0",
                    "169.253.255.255",
                    "172.15.255.255",
                    "172.32.0.0",
                    "192.0.1.0",
                    "192.167.255.255",
                    "192.169.0.0",
                    "198.17.255.255",
                    "198.20.0.0",
                    "223.255.255.255",
                    "2606:4700:4700::1111",
                    "2a00:1450:4001:830::200e",
                    "2001:4860:4860::8888",
                    "::ffff:1.1.1.1",
                    "64:ff9b::8.8.8.8",
                    "2002:0808:0808::1",
                ][..],
            ),
            (
                Place::Private,
                &[
                    "0.0.0.0",
                    "0.1.2.3",
                    "10.0.0.1",
                    "100.64.0.0",
                    "100.127.255.255",
                    "127.0.0.1",
                    "127.255.255.255",
                    "172.16.0.0",
                    "172.31.255.255",
                    "192.0.0.1",
                    "192.0.2.1",
                    "192.88.99.1",
                    "192.168.0.1",
                    "198.18.0.1",
                    "198.19.255.255",
                    "198.51.100.1",
                    "203.0.113.1",
                    "224.0.0.1",
                    "239.255.255.255",
                    "240.0.0.1",
                    "255.255.255.255",
                    "::",
                    "::1",
                    "fc00::1",
                    "fdff::1",
                    "fec0::1",
                    "ff02::1",
                    "100::1",
                    "2001:2::1",
                    "2001:10::1",
                    "2001:db8::1",
                    "3fff::1",
                    "5f00::1",
                    "4000::1",
                    "::ffff:127.0.0.1",
                    "::ffff:0:127.0.0.1",
                    "::127.0.0.1",
                    "64:ff9b::10.0.0.1",
                    "2002:7f00:0001::1",
                    // Teredo: the client is 192.168.0.1.
                    "2001:0:4136:e378:8000:63bf:3f57:fffe",
                ][..],
            ),
            (
                Place::Metadata,
                &[
                    "169.254.0.0",
                    "169.254.169.254",
                    "168.63.129.16",
                    "100.100.100.200",
                    "192.0.0.192",
                    "fe80::1",
                    "febf::1",
                    "64:ff9b:1::1",
                    "fd00:ec2::254",
                    "fd00:ec2::23",
                    "fd20:ce::254",
                    "fd00:42::42",
                    "::ffff:169.254.169.254",
                    "64:ff9b::169.254.169.254",
                    "2002:a9fe:a9fe::1",
                ][..],
            ),
        ] {
            for address in addresses {
                assert_eq!(place_of(address.parse().expect("an address")), place, "{address}");
            }
        }
    }

    #[test]
    fn metadata_is_reached_only_by_name() {
        let may_reach =
            |access: Access| [Place::Public, Place::Private, Place::Metadata].map(|place| access.permits(place));
        assert_eq!(may_reach(Access::Public), [true, false, false]);
        assert_eq!(may_reach(Access::Private), [true, true, false]);
        assert_eq!(may_reach(Access::Named), [true, true, true]);
    }
}
