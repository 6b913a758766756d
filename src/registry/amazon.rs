//! What is known of Amazon ECR without asking it: how its hosts are made, what a region, an account, a role and an access key look like.

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// What differs between AWS's parts that know nothing of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// As ARNs have it.
    pub name: &'static str,
    /// What its hosts end in.
    pub suffix: &'static str,
    /// What those of its hosts end in that are reached by IPv6 as well, where there are any.
    dual_stack: Option<&'static str>,
}

/// The part of AWS that a region is of.
pub fn partition(region: &str) -> Partition {
    let (name, suffix, dual_stack) = match region {
        _ if region.starts_with("cn-") => ("aws-cn", "amazonaws.com.cn", Some("on.amazonwebservices.com.cn")),
        _ if region.starts_with("us-gov-") => ("aws-us-gov", COMMERCIAL, Some(DUAL_STACK)),
        _ if region.starts_with("us-iso-") => ("aws-iso", "c2s.ic.gov", None),
        _ if region.starts_with("us-isob-") => ("aws-iso-b", "sc2s.sgov.gov", None),
        _ if region.starts_with("eu-isoe-") => ("aws-iso-e", "cloud.adc-e.uk", None),
        _ if region.starts_with("us-isof-") => ("aws-iso-f", "csp.hci.ic.gov", None),
        _ if region.starts_with("eusc-") => ("aws-eusc", "amazonaws.eu", None),
        _ => ("aws", COMMERCIAL, Some(DUAL_STACK)),
    };
    Partition {
        name,
        suffix,
        dual_stack,
    }
}

/// The host of an account's registry in a region.
pub fn host(account: &str, region: &str) -> String {
    format!("{account}.dkr.ecr.{region}.{}", partition(region).suffix)
}

/// The account and the region whose registry a host is, if it is one of ECR's: in lower case, without a port. ECR has one that is reached
/// by IPv6 as well, and for some regions those with FIPS 140 in them.
pub fn of_host(host: &str) -> Option<(&str, &str)> {
    let (account, rest) = host.split_once('.')?;
    let (dual_stack, rest) = [
        ("dkr.ecr.", false),
        ("dkr.ecr-fips.", false),
        ("dkr-ecr.", true),
        ("dkr-ecr-fips.", true),
    ]
    .into_iter()
    .find_map(|(form, dual_stack)| Some((dual_stack, rest.strip_prefix(form)?)))?;
    let (region, suffix) = rest.split_once('.')?;
    let partition = partition(region);
    let expected = if dual_stack {
        partition.dual_stack
    } else {
        Some(partition.suffix)
    };
    (is_account(account) && is_region(region) && expected == Some(suffix)).then_some((account, region))
}

/// The part of AWS that a role is of: see [`is_role`].
pub fn partition_of(role: &str) -> Option<&str> {
    role.split(':').nth(1)
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

/// A part of an access key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// Its id.
    Id,
    /// Its secret.
    Secret,
}

/// What cannot be right about an access key, as far as that can be seen without asking AWS. Nothing of it is repeated.
pub fn key_problem(id: &str, secret: &str) -> Option<(KeyPart, &'static str)> {
    let of_id = if is_key_id(id) {
        None
    } else if decoded(id).is_some_and(|text| is_key_id(&text)) {
        Some(IN_BASE64)
    } else {
        Some("it is no id of an access key: those are 16 to 128 upper-case letters and digits")
    };
    let of_secret = || {
        if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            Some("it is empty, or has a space, a line end or a letter in it that is not ASCII")
        } else if secret == id || looks_like_key_id(secret) {
            Some("it is the id of an access key: the secret is what AWS shows once, when it makes the key")
        } else if decoded(secret).is_some_and(|text| looks_like_key_id(&text) || looks_like_secret(&text)) {
            Some(IN_BASE64)
        } else {
            None
        }
    };
    match of_id {
        Some(problem) => Some((KeyPart::Id, problem)),
        None => of_secret().map(|problem| (KeyPart::Secret, problem)),
    }
}

/// The API's own pattern has small letters as well, which AWS gives out in no id, and by which ids are told from secrets.
fn is_key_id(text: &str) -> bool {
    (16..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Whether it is an id, and no secret that happens to have neither small letters nor signs.
fn looks_like_key_id(text: &str) -> bool {
    is_key_id(text) && (text.starts_with("AKIA") || text.starts_with("ASIA")) && !text.contains('_')
}

/// All that AWS gives out are of this length.
fn looks_like_secret(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'/' || byte == b'+';
    text.len() == 40 && text.bytes().all(inner)
}

/// What is in base64 here, as a Secret's `data` has it, be it with the line end of a file.
fn decoded(text: &str) -> Option<Zeroizing<String>> {
    let bytes = Zeroizing::new(STANDARD.decode(text.trim()).ok()?);
    let text = std::str::from_utf8(&bytes).ok()?;
    Some(Zeroizing::new(text.trim_end().to_owned()))
}

const IN_BASE64: &str = "it is in base64: give it as it is";

const COMMERCIAL: &str = "amazonaws.com";
const DUAL_STACK: &str = "on.aws";

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
            ("000000000000", "eusc-de-east-1"),
        ] {
            assert_eq!(of_host(&host(account, region)), Some((account, region)));
        }
        for host in [
            "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
            "123456789012.dkr-ecr.us-gov-west-1.on.aws",
            "123456789012.dkr-ecr-fips.us-gov-west-1.on.aws",
        ] {
            assert_eq!(of_host(host), Some(("123456789012", "us-gov-west-1")), "{host}");
        }
        for host in [
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com.cn",
            "123456789012.dkr.ecr.eu-central-1.on.aws",
            "123456789012.dkr-ecr.eu-central-1.amazonaws.com",
            "123456789012.dkr-ecr.us-iso-east-1.on.aws",
            "123456789012.dkr.s3.eu-central-1.amazonaws.com",
            "123456789012.dkrs-ecr.eu-central-1.on.aws",
            "123456789012.dkr",
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

    #[test]
    fn an_access_key_is_told_from_one_that_is_swapped_doubled_or_in_base64() {
        const ID: &str = "AKIAIOSFODNN7EXAMPLE";
        const SECRET: &str = "wJalrXUtnFEMIxK7MDENGxbPxRfiCYEXAMPLEKEY";
        let base64 = |text: &str| STANDARD.encode(text);
        for (id, secret) in [
            (ID, "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            (ID, SECRET),
            // Not AWS's own, perhaps, and none of our business.
            (ID, "x"),
            (ID, "WJALRXUTNFEMIK7MDENGBPXRFICYEXAMPLEKEY12"),
            ("ASIA_IOSFODNN7EXAMPLE", "0123456789012345678901234567890123456789"),
            ("AIDAIOSFODNN7EXA", SECRET),
            (&"A".repeat(128), SECRET),
        ] {
            assert_eq!(key_problem(id, secret), None, "{id} {secret}");
        }
        for (id, secret, part, expected) in [
            (SECRET, ID, KeyPart::Id, "it is no id"),
            ("", SECRET, KeyPart::Id, "it is no id"),
            ("AKIA IOSFODNN7EXAMPLE", SECRET, KeyPart::Id, "it is no id"),
            ("AKIAIOSFODNN7EXAMPLE\n", SECRET, KeyPart::Id, "it is no id"),
            ("akiaiosfodnn7example", SECRET, KeyPart::Id, "it is no id"),
            ("AKIAIOSFODNN7EX", SECRET, KeyPart::Id, "it is no id"),
            (&"A".repeat(129), SECRET, KeyPart::Id, "it is no id"),
            (&base64(SECRET), ID, KeyPart::Id, "it is no id"),
            (&base64(ID), SECRET, KeyPart::Id, "it is in base64"),
            (&base64(&format!("{ID}\n")), SECRET, KeyPart::Id, "it is in base64"),
            (ID, ID, KeyPart::Secret, "it is the id"),
            ("AIDAIOSFODNN7EXA", "AIDAIOSFODNN7EXA", KeyPart::Secret, "it is the id"),
            (ID, "ASIAI44QH8DHBEXAMPLE", KeyPart::Secret, "it is the id"),
            (ID, &base64(ID), KeyPart::Secret, "it is in base64"),
            (ID, &base64(SECRET), KeyPart::Secret, "it is in base64"),
            (ID, &base64(&format!("{SECRET}\n")), KeyPart::Secret, "it is in base64"),
            (ID, "", KeyPart::Secret, "it is empty"),
            (ID, "a b", KeyPart::Secret, "it is empty"),
            (ID, "hunter2\n", KeyPart::Secret, "it is empty"),
        ] {
            let (of, problem) = key_problem(id, secret).unwrap();
            assert_eq!(of, part, "{id} {secret}");
            assert!(problem.starts_with(expected), "{id} {secret}: {problem}");
        }
    }
}
