//! Which addresses are never dialled, whoever names them: those at which a cloud tells its machines their secrets, and those that are
//! nobody's.
//!
//! Private ones are: a registry is registered by an admin, and many are in a private network. A name is looked at after it was resolved, so
//! that no name hides an address.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::Semaphore;

/// Looks names up, and leaves out the addresses that are never dialled.
#[derive(Clone)]
pub(super) struct Guarded {
    /// The system's lookup blocks a thread, for half a minute at worst.
    lookups: Arc<Semaphore>,
}

/// Nothing of what a name stands for is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forbidden(pub(super) IpAddr);

/// A name that could not be looked up.
#[derive(Debug)]
pub(super) struct Unresolved(io::Error);

impl Guarded {
    pub(super) fn new() -> Self {
        Self {
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }
}

/// Whether an address is never dialled.
pub(super) fn is_forbidden(address: IpAddr) -> bool {
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
        let lookups = self.lookups.clone();
        Box::pin(async move {
            let permit = lookups.acquire_owned().await?;
            let found = tokio::task::spawn_blocking(move || {
                // Given back when the thread is: a caller who has given up does not make room for another thread.
                let _permit = permit;
                (name.as_str(), 0).to_socket_addrs().map(Iterator::collect::<Vec<_>>)
            });
            allowed(found.await?.map_err(Unresolved)?)
        })
    }
}

fn allowed(
    mut addresses: Vec<SocketAddr>,
) -> Result<std::vec::IntoIter<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
    let forbidden = addresses.iter().find(|address| is_forbidden(address.ip())).copied();
    addresses.retain(|address| !is_forbidden(address.ip()));
    match forbidden {
        Some(forbidden) if addresses.is_empty() => Err(Forbidden(forbidden.ip()).into()),
        _ => Ok(addresses.into_iter()),
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is never dialled", self.0)
    }
}

impl std::error::Error for Forbidden {}

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
    fn of_the_addresses_of_a_name_those_are_dialled_that_may_be() {
        let address = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        let of = |all: &[&str]| allowed(all.iter().copied().map(address).collect());
        let left: Vec<_> = of(&["169.254.169.254", "10.0.0.1"]).unwrap().collect();
        assert_eq!(left, [address("10.0.0.1")]);
        let error = of(&["169.254.169.254", "fe80::1"]).unwrap_err();
        assert_eq!(
            error.downcast_ref::<Forbidden>(),
            Some(&Forbidden("169.254.169.254".parse().unwrap()))
        );
    }
}
