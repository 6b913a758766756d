//! What is known of Amazon ECR without asking it: how its hosts are made, what a region, an account and a role look like.

/// What differs between AWS's parts that know nothing of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// As ARNs have it.
    pub name: &'static str,
    /// What its hosts end in.
    pub suffix: &'static str,
}

/// The part of AWS that a region is of.
pub fn partition(region: &str) -> Partition {
    let (name, suffix) = match region.split('-').next() {
        Some("cn") => ("aws-cn", "amazonaws.com.cn"),
        Some("us") if region.starts_with("us-gov-") => ("aws-us-gov", COMMERCIAL),
        Some("us") if region.starts_with("us-iso-") => ("aws-iso", "c2s.ic.gov"),
        Some("us") if region.starts_with("us-isob-") => ("aws-iso-b", "sc2s.sgov.gov"),
        _ => ("aws", COMMERCIAL),
    };
    Partition { name, suffix }
}

/// The host of an account's registry in a region.
pub fn host(account: &str, region: &str) -> String {
    format!("{account}.dkr.ecr.{region}.{}", partition(region).suffix)
}

/// The account and the region whose registry a host is, if it is one of ECR's: in lower case, without a port.
pub fn of_host(host: &str) -> Option<(&str, &str)> {
    let (account, rest) = host.split_once(".dkr.ecr.")?;
    let (region, suffix) = rest.split_once('.')?;
    (is_account(account) && is_region(region) && suffix == partition(region).suffix).then_some((account, region))
}

/// Whether it is an account's id, which is its registry's.
pub fn is_account(id: &str) -> bool {
    id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether it looks like a region: `eu-central-1`.
pub fn is_region(region: &str) -> bool {
    let parts: Vec<_> = region.split('-').collect();
    let Some((number, words)) = parts.split_last() else {
        return false;
    };
    region.len() <= 32
        && words.len() >= 2
        && words
            .iter()
            .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()))
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether it is the ARN of a role: `arn:aws:iam::123456789012:role/waypost-pull`.
pub fn is_role(arn: &str) -> bool {
    let mut parts = arn.splitn(6, ':');
    let mut next = || parts.next().unwrap_or_default();
    next() == "arn"
        && next().starts_with("aws")
        && next() == "iam"
        && next().is_empty()
        && is_account(next())
        && next().strip_prefix("role/").is_some_and(|name| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"/_+=,.@-".contains(&byte))
        })
        && arn.len() <= 2048
}

/// Whether it can be an external id of a role's trust policy (the API's own pattern).
pub fn is_external_id(id: &str) -> bool {
    (2..=1224).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte))
}

const COMMERCIAL: &str = "amazonaws.com";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_ecr_says_whose_registry_it_is() {
        for (account, region) in [
            ("123456789012", "eu-central-1"),
            ("123456789012", "cn-north-1"),
            ("000000000000", "us-gov-west-1"),
            ("000000000000", "us-iso-east-1"),
        ] {
            assert_eq!(of_host(&host(account, region)), Some((account, region)));
        }
        for host in [
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com.cn",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
            "12345678901.dkr.ecr.eu-central-1.amazonaws.com",
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com.evil.com",
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com:443",
            "x.123456789012.dkr.ecr.eu-central-1.amazonaws.com",
            "public.ecr.aws",
            "",
        ] {
            assert_eq!(of_host(host), None, "{host}");
        }
    }

    #[test]
    fn regions_accounts_and_roles_are_told_from_what_only_looks_like_them() {
        for (region, expected) in [
            ("eu-central-1", true),
            ("us-gov-west-1", true),
            ("ap-southeast-10", true),
            ("eu-central", false),
            ("EU-central-1", false),
            ("eu--1", false),
            ("eu-central-1.evil.com", false),
            ("", false),
        ] {
            assert_eq!(is_region(region), expected, "{region}");
        }
        for (arn, expected) in [
            ("arn:aws:iam::123456789012:role/waypost-pull", true),
            ("arn:aws-cn:iam::123456789012:role/path/to/pull", true),
            ("arn:aws:iam::123456789012:user/waypost", false),
            ("arn:aws:iam::1:role/x", false),
            ("arn:aws:iam::123456789012:role/", false),
            ("arn:aws:iam::123456789012:role/a b", false),
            ("waypost-pull", false),
        ] {
            assert_eq!(is_role(arn), expected, "{arn}");
        }
        assert!(is_external_id("a:b/c-1") && !is_external_id("a") && !is_external_id("a b"));
    }
}
