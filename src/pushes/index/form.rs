//! How a target is made of its image: most registries put something before the name, or in the place of its registry.

use crate::reference::Reference;

/// What the name of an image loses at its beginning, and what it gets instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form<'f> {
    head: &'f str,
    lost: &'f str,
}

impl<'f> Form<'f> {
    /// The one that makes this target of this image, by their names; none where no form does.
    pub(super) fn between(image: &'f str, target: &'f str) -> Option<Self> {
        let behind_registry = image.find('/').map_or(0, |slash| slash + 1);
        [0, behind_registry].into_iter().find_map(|cut| {
            let (lost, kept) = image.split_at(cut);
            let head = target.strip_suffix(kept).filter(|head| head.contains('/'))?;
            Some(Self { head, lost })
        })
    }

    pub(super) fn read(text: &'f str) -> Self {
        let (head, lost) = text.split_once(' ').unwrap_or((text, ""));
        Self { head, lost }
    }

    /// No reference has a space in it.
    pub(super) fn text(&self) -> String {
        format!("{} {}", self.head, self.lost)
    }

    /// The registry that targets are in: only images there can be one.
    pub(super) fn registry(&self) -> &'f str {
        self.head.split('/').next().unwrap_or_default()
    }

    pub(super) fn target(&self, image: &Reference<'_>) -> String {
        let mut text = String::with_capacity(self.head.len() + image.input().len() + "docker.io/library/".len());
        text.push_str(self.head);
        write_name(image, &mut text);
        // What is lost is what the name begins with: images of another one have other keys.
        text.drain(self.head.len()..self.head.len() + self.lost.len());
        text.push_str(image.suffix());
        text
    }

    /// The image that has this target by this form.
    pub(super) fn source(&self, target: &str, suffix: &str) -> Option<String> {
        let kept = target.strip_prefix(self.head)?;
        Some(format!("{}{kept}{suffix}", self.lost))
    }
}

/// The name of an image without tag and digest, the host in lower case.
pub(super) fn name(image: &Reference<'_>) -> String {
    let mut name = String::with_capacity(image.input().len() + "docker.io/library/".len());
    write_name(image, &mut name);
    name
}

/// An image in its normal form, the host in lower case, with tag and digest as they are written: as targets are.
pub(crate) fn normal(image: &Reference<'_>) -> String {
    let mut text = name(image);
    text.push_str(image.suffix());
    text
}

fn write_name(image: &Reference<'_>, out: &mut String) {
    let start = out.len();
    for (place, segment) in image.segments().enumerate() {
        if place > 0 {
            out.push('/');
        }
        out.push_str(segment);
    }
    out[start..start + image.registry().len()].make_ascii_lowercase();
}
