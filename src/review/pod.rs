//! What is read of a Pod.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::json::{Json, Lenient, NotJson, utf8};
use super::owner::Owner;
use crate::policy::Labels;

/// The fields of a Pod that matter here, borrowed from the review. Absent, null and of the wrong type are all told apart.
#[derive(Debug, Default)]
pub struct PodView<'a> {
    /// `metadata.namespace`.
    pub namespace: Option<Cow<'a, str>>,
    /// `metadata.labels`.
    pub labels: StrMap<'a>,
    /// `metadata.annotations`.
    pub annotations: Annotations<'a>,
    /// The controller among `metadata.ownerReferences`.
    pub owner: Option<Owner<'a>>,
    /// `spec.imagePullSecrets`.
    pub pull_secrets: PullSecrets<'a>,
    /// Every place that has an image.
    pub slots: SmallVec<[ImageSlot<'a>; 4]>,
    /// Whether there is a `metadata` to patch.
    pub has_metadata: bool,
    /// Whether there is a `spec` to patch.
    pub has_spec: bool,
}

/// A place in a Pod that names an image.
#[derive(Debug)]
pub struct ImageSlot<'a> {
    /// In which list it is.
    pub kind: SlotKind,
    /// Its place in the list.
    pub index: usize,
    /// The name of the container or volume.
    pub name: Cow<'a, str>,
    /// The image as it is written.
    pub image: Cow<'a, str>,
    /// The pull policy as it is written.
    pub pull_policy: Option<Cow<'a, str>>,
}

/// The lists of a Pod that name images, in the order that they are gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SlotKind {
    /// `spec.initContainers`
    InitContainer,
    /// `spec.containers`
    Container,
    /// `spec.ephemeralContainers`
    EphemeralContainer,
    /// `spec.volumes[].image`
    Volume,
}

/// Strings by key. Few are searched in their order, more are sorted: rules ask for each image.
#[derive(Debug, Default)]
pub struct StrMap<'a>(SmallVec<[(Cow<'a, str>, Cow<'a, str>); 8]>);

/// What is read of `metadata.annotations`.
#[derive(Debug, Default)]
pub struct Annotations<'a> {
    /// Whether there is an object to add to: false where it is absent or null.
    pub present: bool,
    /// Whether it is something that nothing can be added to.
    pub unusable: bool,
    /// Whether the Pod is the mirror of a static one (`kubernetes.io/config.mirror`).
    pub mirror: bool,
    /// `waypost.dev/rules`
    pub rules: Option<Cow<'a, str>>,
    /// Bytes of all keys and values together: the API server has a limit on them.
    pub bytes: usize,
}

/// `spec.imagePullSecrets`.
#[derive(Debug, Default)]
pub struct PullSecrets<'a> {
    /// The names, in order; an entry without one is an empty name.
    pub names: SmallVec<[Cow<'a, str>; 4]>,
    /// Whether there is a list: false where it is absent or null.
    pub present: bool,
    /// Whether it is something that nothing can be added to.
    pub unusable: bool,
}

impl SlotKind {
    /// The key of the list below `spec`.
    pub fn list(self) -> &'static str {
        match self {
            Self::InitContainer => "initContainers",
            Self::Container => "containers",
            Self::EphemeralContainer => "ephemeralContainers",
            Self::Volume => "volumes",
        }
    }

    /// The path of the image below the list's element.
    pub fn image_path(self) -> &'static str {
        if self == Self::Volume {
            "/image/reference"
        } else {
            "/image"
        }
    }

    /// The path of the pull policy below the list's element.
    pub fn pull_policy_path(self) -> &'static str {
        if self == Self::Volume {
            "/image/pullPolicy"
        } else {
            "/imagePullPolicy"
        }
    }

    /// What people call an element of the list.
    pub fn noun(self) -> &'static str {
        match self {
            Self::InitContainer => "init container",
            Self::Container => "container",
            Self::EphemeralContainer => "ephemeral container",
            Self::Volume => "volume",
        }
    }
}

impl PullSecrets<'_> {
    /// Whether this Secret is in the list.
    pub fn contains(&self, name: &str) -> bool {
        self.names.iter().any(|present| present == name)
    }
}

impl<'a> FromIterator<(Cow<'a, str>, Cow<'a, str>)> for StrMap<'a> {
    fn from_iter<I: IntoIterator<Item = (Cow<'a, str>, Cow<'a, str>)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl Labels for StrMap<'_> {
    fn value(&self, key: &str) -> Option<&str> {
        if self.0.len() > FEW {
            let place = self.0.partition_point(|(present, _)| **present <= *key);
            let last = place.checked_sub(1).map(|place| &self.0[place]);
            return last.filter(|(present, _)| present == key).map(|(_, value)| &**value);
        }
        self.0
            .iter()
            .rev()
            .find(|(present, _)| present == key)
            .map(|(_, value)| &**value)
    }
}

impl<'a> PodView<'a> {
    /// Reads a Pod. Boxed and filled in place: it is a kilobyte, which would be moved at each level that is read.
    pub(super) fn read(json: &mut Json<'a>) -> Result<Lenient<Box<Self>>, NotJson> {
        let mut pod = Box::<Self>::default();
        let read = json.object(|json, key| {
            match &*key {
                b"metadata" => pod.read_metadata(json)?,
                b"spec" => pod.read_spec(json)?,
                _ => json.skip()?,
            }
            Ok(())
        })?;
        // They come in whatever order the lists do.
        pod.slots.sort_by_key(|slot| slot.kind);
        Ok(match read {
            Lenient::Value(()) => Lenient::Value(pod),
            Lenient::Absent => Lenient::Absent,
            Lenient::Other => Lenient::Other,
        })
    }

    fn read_metadata(&mut self, json: &mut Json<'a>) -> Result<(), NotJson> {
        (self.namespace, self.labels, self.annotations, self.owner) = Default::default();
        let read = json.object(|json, key| {
            match &*key {
                b"namespace" => self.namespace = json.text()?.value(),
                b"labels" => self.labels = StrMap::read(json)?,
                b"annotations" => self.annotations = Annotations::read(json)?,
                b"ownerReferences" => self.owner = Owner::read(json)?,
                _ => json.skip()?,
            }
            Ok(())
        })?;
        self.has_metadata = read.is_value();
        Ok(())
    }

    fn read_spec(&mut self, json: &mut Json<'a>) -> Result<(), NotJson> {
        self.slots.clear();
        self.pull_secrets = PullSecrets::default();
        let read = json.object(|json, key| {
            match &*key {
                b"initContainers" => self.read_containers(SlotKind::InitContainer, json)?,
                b"containers" => self.read_containers(SlotKind::Container, json)?,
                b"ephemeralContainers" => self.read_containers(SlotKind::EphemeralContainer, json)?,
                b"volumes" => self.read_volumes(json)?,
                b"imagePullSecrets" => self.pull_secrets = PullSecrets::read(json)?,
                _ => json.skip()?,
            }
            Ok(())
        })?;
        self.has_spec = read.is_value();
        Ok(())
    }

    fn read_containers(&mut self, kind: SlotKind, json: &mut Json<'a>) -> Result<(), NotJson> {
        self.slots.retain(|slot| slot.kind != kind);
        let mut index = 0;
        json.list(|json| {
            let (mut name, mut image, mut pull_policy) = Default::default();
            json.object(|json, key| {
                match &*key {
                    b"name" => name = json.text()?.value(),
                    b"image" => image = json.text()?.value(),
                    b"imagePullPolicy" => pull_policy = json.text()?.value(),
                    _ => json.skip()?,
                }
                Ok(())
            })?;
            self.push(kind, index, name, image, pull_policy);
            index += 1;
            Ok(())
        })?;
        Ok(())
    }

    fn read_volumes(&mut self, json: &mut Json<'a>) -> Result<(), NotJson> {
        let kind = SlotKind::Volume;
        self.slots.retain(|slot| slot.kind != kind);
        let mut index = 0;
        json.list(|json| {
            let (mut name, mut image, mut pull_policy) = Default::default();
            json.object(|json, key| {
                match &*key {
                    b"name" => name = json.text()?.value(),
                    b"image" => {
                        (image, pull_policy) = Default::default();
                        json.object(|json, key| {
                            match &*key {
                                b"reference" => image = json.text()?.value(),
                                b"pullPolicy" => pull_policy = json.text()?.value(),
                                _ => json.skip()?,
                            }
                            Ok(())
                        })?;
                    }
                    _ => json.skip()?,
                }
                Ok(())
            })?;
            self.push(kind, index, name, image, pull_policy);
            index += 1;
            Ok(())
        })?;
        Ok(())
    }

    /// Takes in an element of a list, if it names an image.
    fn push(
        &mut self,
        kind: SlotKind,
        index: usize,
        name: Option<Cow<'a, str>>,
        image: Option<Cow<'a, str>>,
        pull_policy: Option<Cow<'a, str>>,
    ) {
        self.slots.extend(image.map(|image| ImageSlot {
            kind,
            index,
            name: name.unwrap_or_default(),
            image,
            pull_policy,
        }));
    }
}

impl<'a> PullSecrets<'a> {
    fn read(json: &mut Json<'a>) -> Result<Self, NotJson> {
        let mut names = SmallVec::new();
        let read = json.list(|json| {
            let mut name = Lenient::Absent;
            json.object(|json, key| {
                match &*key {
                    b"name" => name = json.text()?,
                    _ => json.skip()?,
                }
                Ok(())
            })?;
            names.push(name.value().unwrap_or_default());
            Ok(())
        })?;
        Ok(Self {
            names,
            present: read.is_value(),
            unusable: read == Lenient::Other,
        })
    }
}

impl<'a> StrMap<'a> {
    fn read(json: &mut Json<'a>) -> Result<Self, NotJson> {
        let mut entries = SmallVec::new();
        json.object(|json, key| {
            let key = utf8(key)?;
            match json.text()? {
                Lenient::Value(value) => entries.push((key, value)),
                // Go reads null as the empty string.
                Lenient::Absent => entries.push((key, Cow::Borrowed(""))),
                Lenient::Other => {}
            }
            Ok(())
        })?;
        if entries.len() > FEW {
            // Stable: of a key that comes twice the last stays last.
            entries.sort_by(|(left, _), (right, _): &(Cow<'_, str>, Cow<'_, str>)| left.cmp(right));
        }
        Ok(Self(entries))
    }
}

impl<'a> Annotations<'a> {
    fn read(json: &mut Json<'a>) -> Result<Self, NotJson> {
        let mut annotations = Self::default();
        let read = json.object(|json, key| {
            annotations.bytes += key.len();
            if *key == *RULES.as_bytes() {
                let rules = json.text()?.value().unwrap_or_default();
                annotations.bytes += rules.len();
                annotations.rules = Some(rules);
            } else {
                annotations.bytes += json.length()?;
                annotations.mirror |= *key == *MIRROR.as_bytes();
            }
            Ok(())
        })?;
        annotations.present = read.is_value();
        annotations.unusable = read == Lenient::Other;
        Ok(annotations)
    }
}

/// So many labels are searched one by one.
const FEW: usize = 16;

/// The kubelet sets it on the mirrors of static Pods.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";

/// The annotation with the rules that decided.
pub(crate) const RULES: &str = "waypost.dev/rules";
