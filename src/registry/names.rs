//! Under which names images are in a registry, there and back.

use super::{Address, spec::NamesSpec};
use crate::{
    document::{Path, Problem},
    policy::Template,
    reference::Reference,
};

/// A template for the names of images in a registry. One name stands for one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    template: Template,
    /// The registry that images are of, where the name does not say.
    from: Option<Box<str>>,
}

impl Names {
    /// `{registry}/{repository}` below the address.
    pub(super) fn everything(address: &Address) -> Self {
        match Template::parse(&format!("{address}/{EVERYTHING}"), &[]) {
            Ok(template) => Self { template, from: None },
            // An address is a valid prefix.
            Err(error) => unreachable!("{address}: {error}"),
        }
    }

    #[expect(clippy::result_large_err, reason = "once for each registry that is written")]
    pub(super) fn parse(address: &Address, spec: Option<&NamesSpec>) -> Result<Self, Problem> {
        let path = || Path::root().key("names");
        let Some(NamesSpec { to, from }) = spec else {
            return Ok(Self::everything(address));
        };
        let prefix = format!("{address}/");
        let template = Template::parse(&format!("{prefix}{to}"), &[])
            .map_err(|error| Problem::error("invalid-names", path().key("to"), error.message).hint(error.hint))?;
        if !template.keeps_repository() {
            return Err(Problem::error(
                "names-lose-images",
                path().key("to"),
                format!("the names `{to}` do not say which repository an image is of, so that two images could have one name"),
            )
            .hint("have {repository}, or {namespace} and {name}, in it, with a slash between any two variables"));
        }
        let from = match (from, template.keeps_registry()) {
            (None, true) => None,
            (Some(from), false) => Some(registry(from)?),
            (None, false) => {
                return Err(Problem::error(
                    "names-lose-images",
                    path().key("to"),
                    format!("the names `{to}` do not say which registry an image is of, so that two images could have one name"),
                )
                .hint("have {registry} in it, or say which one it is in `from`: docker.io"));
            }
            (Some(_), true) => {
                return Err(Problem::error(
                    "contradiction",
                    path().key("from"),
                    format!("the names `{to}` say which registry an image is of, and so does `from`"),
                )
                .hint("take `from` out, or `{registry}`"));
            }
        };
        Ok(Self { template, from })
    }

    /// The reference that this image has in the registry, with its tag and digest; none where it can have none: the image is of
    /// another registry than [`Names::from`], or the name would be no reference.
    pub fn target(&self, image: &Reference<'_>) -> Option<String> {
        match &self.from {
            Some(from) if !from.eq_ignore_ascii_case(image.registry()) => None,
            _ => self.template.target(image, &()),
        }
    }

    /// The canonical reference of the image that is in the registry under this name, with its tag and digest; none where the name is
    /// of no image: then it is an image in its own right.
    pub fn source(&self, target: &Reference<'_>) -> Option<String> {
        let name = target.canonical_name().to_string();
        let sources = self.template.sources(&name, self.from.as_deref(), None);
        sources.into_iter().find_map(|mut source| {
            source.push_str(target.suffix());
            let same = self.target(&Reference::parse(&source).ok()?)? == target.canonical().to_string();
            same.then_some(source)
        })
    }

    /// The template, with what the registry puts before it: `registry.example.com/team/{registry}/{repository}`.
    pub fn template(&self) -> &str {
        self.template.as_str()
    }

    /// The one registry that images are of, where the template does not say it.
    pub fn from(&self) -> Option<&str> {
        self.from.as_deref()
    }
}

#[expect(clippy::result_large_err, reason = "once for each registry that is written")]
fn registry(from: &str) -> Result<Box<str>, Problem> {
    match Address::parse(Some(from)) {
        Ok((address, None)) if address.organization.is_empty() => Ok(address.host),
        _ => Err(Problem::error(
            "invalid-registry-host",
            Path::root().key("names").key("from"),
            format!("`{}` is no registry", from.escape_debug()),
        )
        .hint("write the host of the one registry whose images it has: docker.io")),
    }
}

/// The template of a registry that says no other.
const EVERYTHING: &str = "{registry}/{repository}";
