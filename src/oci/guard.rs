//! Which addresses are never dialled, whoever names them: those at which a cloud tells its machines their secrets, and those that are
//! nobody's.
//!
//! Private ones are dialled for a registry that is registered: an admin has done that, and many are in a private network, with what they
//! redirect to. For one that nobody registered they are not: whoever names an image could have Waypost ask whatever is in its own network.
//! A name is looked at after it was resolved, by whoever connects, so that no name hides an address.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::Semaphore;

/// For whom addresses are dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// A registry that is registered, or that whoever sits at this machine names.
    Registered,
    /// Anything that an image's name may say.
    Public,
}

/// Looks names up, and leaves out the addresses that are not dialled.
#[derive(Clone)]
pub(super) struct Guarded {
    reach: Reach,
    /// The system's lookup blocks a thread, for half a minute at worst.
    lookups: Arc<Semaphore>,
}

/// Nothing of what a name stands for is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Not for anybody.
    Forbidden(IpAddr),
    /// Not for a registry that nobody registered.
    Private(IpAddr),
}

/// A name that could not be looked up.
#[derive(Debug)]
pub(super) struct Unresolved(io::Error);

impl Guarded {
    pub(super) fn new(reach: Reach) -> Self {
        Self {
            reach,
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }
}

impl Reach {
    /// Whether an address may be dialled.
    pub(super) fn check(self, address: IpAddr) -> Result<(), Refused> {
        if is_forbidden(address) {
            return Err(Refused::Forbidden(address));
        }
        match self {
            Self::Public if is_private(address) => Err(Refused::Private(address)),
            _ => Ok(()),
        }
    }
}

/// Whether an address is of a network that not everybody is in.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => {
            let [first, second, third, ..] = address.segments();
            address.is_loopback()
                || embedded(address).is_some_and(is_private_v4)
                // Unique local ones, and what was before them.
                || first & 0xfe00 == 0xfc00
                || first & 0xffc0 == 0xfec0
                // Translated by a network's own rule (RFC 8215), and Teredo: either may lead to anything of version 4.
                || (first, second, third) == (0x64, 0xff9b, 1)
                || (first, second) == (0x2001, 0)
        }
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || first == 0
        // Of carriers (RFC 6598), of protocols, for measurements, kept for later.
        || (first == 100 && second & 0xc0 == 64)
        || (first, second, third) == (192, 0, 0)
        || (first == 198 && second & 0xfe == 18)
        || first >= 240
}

/// Whether an address is never dialled.
fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_forbidden_v4(address),
        IpAddr::V6(address) => {
            let [first, second, ..] = address.segments();
            let inner = embedded(address).is_some_and(is_forbidden_v4);
            inner
                || address.is_unspecified()
                || address.is_multicast()
                || first & 0xffc0 == 0xfe80
                // AWS: fd00:ec2::/32; Google: fd20:ce::/32.
                || (first, second) == (0xfd00, 0x0ec2)
                || (first, second) == (0xfd20, 0x00ce)
        }
    }
}

fn is_forbidden_v4(address: Ipv4Addr) -> bool {
    address.is_link_local()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_broadcast()
        || METADATA.contains(&address)
}

/// The address of version 4 that one of version 6 leads to: mapped, compatible, translated (RFC 6052), 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        // `::1` is itself.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

impl tower::Service<Name> for Guarded {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (lookups, reach) = (self.lookups.clone(), self.reach);
        Box::pin(async move {
            let permit = lookups.acquire_owned().await?;
            let found = tokio::task::spawn_blocking(move || {
                // Given back when the thread is: a caller who has given up does not make room for another thread.
                let _permit = permit;
                (name.as_str(), 0).to_socket_addrs().map(Iterator::collect::<Vec<_>>)
            });
            allowed(found.await?.map_err(Unresolved)?, reach)
        })
    }
}

fn allowed(
    mut addresses: Vec<SocketAddr>,
    reach: Reach,
) -> Result<std::vec::IntoIter<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
    let refused = addresses.iter().find_map(|address| reach.check(address.ip()).err());
    addresses.retain(|address| reach.check(address.ip()).is_ok());
    match refused {
        Some(refused) if addresses.is_empty() => Err(refused.into()),
        _ => Ok(addresses.into_iter()),
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden(address) => write!(f, "{address} is never dialled"),
            Self::Private(address) => write!(f, "{address} is dialled for registered registries alone"),
        }
    }
}

impl std::error::Error for Refused {}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Unresolved {}

/// Alibaba, Oracle and Azure have theirs elsewhere than the others, which have 169.254.169.254.
const METADATA: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

const LOOKUPS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_of_metadata_is_dialled_in_whatever_form() {
        for (address, forbidden) in [
            ("169.254.169.254", true),
            ("169.254.0.1", true),
            ("100.100.100.200", true),
            ("168.63.129.16", true),
            ("0.0.0.0", true),
            ("255.255.255.255", true),
            ("224.0.0.1", true),
            ("::", true),
            ("fe80::1", true),
            ("febf::1", true),
            ("fd00:ec2::254", true),
            ("fd20:ce::254", true),
            ("::ffff:169.254.169.254", true),
            ("::169.254.169.254", true),
            ("64:ff9b::a9fe:a9fe", true),
            ("2002:a9fe:a9fe::1", true),
            ("ff02::1", true),
            ("127.0.0.1", false),
            ("::1", false),
            ("10.0.0.1", false),
            ("192.168.1.1", false),
            ("172.16.0.1", false),
            ("100.64.0.1", false),
            ("fd00::1", false),
            ("fec0::1", false),
            ("::ffff:10.0.0.1", false),
            ("8.8.8.8", false),
            ("2606:4700::1", false),
        ] {
            assert_eq!(is_forbidden(address.parse().unwrap()), forbidden, "{address}");
        }
    }

    #[test]
    fn a_private_address_is_dialled_for_a_registered_registry_alone_in_whatever_form() {
        for (address, private) in [
            ("10.0.0.1", true),
            ("172.16.0.1", true),
            ("172.31.255.255", true),
            ("172.32.0.1", false),
            ("192.168.1.1", true),
            ("127.0.0.1", true),
            ("127.255.0.9", true),
            ("0.1.2.3", true),
            ("100.64.0.1", true),
            ("100.127.255.255", true),
            ("100.63.0.1", false),
            ("100.128.0.1", false),
            ("192.0.0.8", true),
            ("198.18.0.1", true),
            ("198.20.0.1", false),
            ("240.0.0.1", true),
            ("::1", true),
            ("fc00::1", true),
            ("fdff::1", true),
            ("fec0::1", true),
            ("::ffff:10.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("::10.0.0.1", true),
            ("64:ff9b::c0a8:101", true),
            ("64:ff9b:1::808:808", true),
            ("2002:a00:1::1", true),
            ("2001:0:808:808::1", true),
            ("8.8.8.8", false),
            ("::ffff:8.8.8.8", false),
            ("64:ff9b::808:808", false),
            ("2606:4700::1", false),
            ("2001:4860::1", false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(Reach::Registered.check(address), Ok(()), "{address}");
            let expected = if private {
                Err(Refused::Private(address))
            } else {
                Ok(())
            };
            assert_eq!(Reach::Public.check(address), expected, "{address}");
        }
        for address in ["0.0.0.0", "::", "169.254.169.254", "fe80::1"] {
            let address: IpAddr = address.parse().unwrap();
            for reach in [Reach::Registered, Reach::Public] {
                assert_eq!(reach.check(address), Err(Refused::Forbidden(address)));
            }
        }
    }

    #[test]
    fn of_the_addresses_of_a_name_those_are_dialled_that_may_be() {
        let address = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        let of = |all: &[&str], reach| allowed(all.iter().copied().map(address).collect(), reach);
        let left = |all: &[&str], reach| of(all, reach).unwrap().collect::<Vec<_>>();
        assert_eq!(
            left(&["169.254.169.254", "10.0.0.1"], Reach::Registered),
            [address("10.0.0.1")]
        );
        assert_eq!(left(&["10.0.0.1", "8.8.8.8"], Reach::Public), [address("8.8.8.8")]);
        for (all, reach, expected) in [
            (
                ["169.254.169.254", "fe80::1"],
                Reach::Registered,
                Refused::Forbidden("169.254.169.254".parse().unwrap()),
            ),
            (
                ["10.0.0.1", "fe80::1"],
                Reach::Public,
                Refused::Private("10.0.0.1".parse().unwrap()),
            ),
        ] {
            let error = of(&all, reach).unwrap_err();
            assert_eq!(error.downcast_ref::<Refused>(), Some(&expected));
        }
    }
}
