//! What it is like over a connection.

use super::{ADMIN, Api, impatient};
use crate::support::client::{Client, Protocol};

impl Api {
    pub(super) fn client(&self) -> Client {
        Client::new(&self.authority(), Protocol::Http1)
    }
}

#[test]
fn head_is_get_without_the_body_in_either_protocol() {
    let api = Api::start(impatient());
    let authorization = format!("Bearer {ADMIN}");
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let client = Client::new(&api.authority(), protocol);
        let ask = |method| {
            let headers = [("authorization", &*authorization)];
            client
                .request(api.address, method, "/v1/registries", &headers, "")
                .unwrap()
        };
        let (get, head) = (ask("GET"), ask("HEAD"));
        assert_eq!((get.status, head.status), (200, 200));
        assert_eq!(
            (get.text().as_str(), head.text().as_str()),
            ("{\"items\":[],\"next\":null}", "")
        );
        assert_eq!(head.headers["content-length"], "24");
    }
}
