//! Who is behind a Service. It takes the right to list EndpointSlices.

use std::net::SocketAddr;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, api::ListParams};

use super::{Home, ObjectError, within};

/// An address behind a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The Pod, where it is one, or the address.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether somebody may be sent there: those that end are among them, and those that are not ready may not be.
    pub serving: bool,
}

/// Every endpoint of the Service, ready or not.
///
/// # Errors
///
/// When the API server does not say.
pub async fn endpoints(home: &Home, service: &str) -> Result<Vec<Endpoint>, ObjectError> {
    let api: Api<EndpointSlice> = Api::namespaced(home.client.clone(), &home.namespace);
    let params = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
    let what = format!("the EndpointSlices of the Service {service}");
    let slices = within(&what, "list", api.list(&params)).await?;
    Ok(slices.items.iter().flat_map(of_slice).collect())
}

fn of_slice(slice: &EndpointSlice) -> Vec<Endpoint> {
    let ports = slice.ports.iter().flatten();
    let ports: Vec<_> = ports
        .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP")
        .filter_map(|port| u16::try_from(port.port?).ok())
        .collect();
    let mut endpoints = Vec::new();
    for endpoint in &slice.endpoints {
        let conditions = endpoint.conditions.as_ref();
        // What is not said counts as yes, and `serving` as `ready`.
        let serving = conditions
            .and_then(|conditions| conditions.serving.or(conditions.ready))
            .unwrap_or(true);
        for address in &endpoint.addresses {
            let Ok(ip) = address.parse() else { continue };
            let pod = endpoint.target_ref.as_ref().and_then(|target| target.name.clone());
            for port in &ports {
                endpoints.push(Endpoint {
                    name: pod.clone().unwrap_or_else(|| address.clone()),
                    address: SocketAddr::new(ip, *port),
                    serving,
                });
            }
        }
    }
    endpoints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_with_every_port_is_an_endpoint_and_what_is_not_said_counts_as_serving() {
        let slice: EndpointSlice = serde_json::from_value(serde_json::json!({
            "metadata": {}, "addressType": "IPv4",
            "ports": [{"port": 8443}, {"port": 53, "protocol": "UDP"}, {"protocol": "TCP"}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "a"}, "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false, "serving": true, "terminating": true}},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.4"]},
            ],
        }))
        .unwrap();
        let found: Vec<_> = of_slice(&slice)
            .into_iter()
            .map(|endpoint| (endpoint.name, endpoint.address.to_string(), endpoint.serving))
            .collect();
        let row = |name: &str, address: &str, serving| (name.to_owned(), address.to_owned(), serving);
        assert_eq!(
            found,
            [
                row("a", "10.0.0.1:8443", true),
                row("10.0.0.2", "10.0.0.2:8443", true),
                row("10.0.0.3", "10.0.0.3:8443", false),
                row("10.0.0.4", "10.0.0.4:8443", true),
            ]
        );
    }
}
