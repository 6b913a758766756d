//! What is read of a Pod.

use std::borrow::Cow;

use serde::de::{MapAccess, SeqAccess};
use smallvec::SmallVec;

use super::lenient::{Key, Lenient, Read, read_object};
use super::owner::{Owner, Owners};
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

/// The lists of a Pod that name images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

impl<'de> Read<'de> for Box<PodView<'de>> {
    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        Ok(PodView::from_map(map)?.map(Self::new))
    }
}

impl<'de> Read<'de> for PodView<'de> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut metadata: Lenient<Metadata<'de>> = Lenient::Absent;
        let mut spec: Lenient<Spec<'de>> = Lenient::Absent;
        read_object!(map, { "metadata" => metadata, "spec" => spec });
        let has_metadata = matches!(metadata, Lenient::Value(_));
        let has_spec = matches!(spec, Lenient::Value(_));
        let metadata = metadata.value().unwrap_or_default();
        let spec = spec.value().unwrap_or_default();
        let mut slots: SmallVec<[ImageSlot<'de>; 4]> = SmallVec::new();
        for (kind, list) in [
            (SlotKind::InitContainer, spec.init_containers),
            (SlotKind::Container, spec.containers),
            (SlotKind::EphemeralContainer, spec.ephemeral_containers),
            (SlotKind::Volume, spec.volumes),
        ] {
            slots.extend(list.into_iter().map(|element| ImageSlot {
                kind,
                index: element.index,
                name: element.name.unwrap_or_default(),
                image: element.image,
                pull_policy: element.pull_policy,
            }));
        }
        Ok(Some(Self {
            namespace: metadata.namespace,
            labels: metadata.labels,
            annotations: metadata.annotations,
            owner: metadata.owner,
            pull_secrets: spec.pull_secrets,
            slots,
            has_metadata,
            has_spec,
        }))
    }
}

#[derive(Default)]
struct Metadata<'a> {
    namespace: Option<Cow<'a, str>>,
    labels: StrMap<'a>,
    annotations: Annotations<'a>,
    owner: Option<Owner<'a>>,
}

impl<'de> Read<'de> for Metadata<'de> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut namespace: Lenient<Cow<'de, str>> = Lenient::Absent;
        let mut labels: Lenient<StrMap<'de>> = Lenient::Absent;
        let mut annotations: Lenient<Annotations<'de>> = Lenient::Absent;
        let mut owners: Lenient<Owners<'de>> = Lenient::Absent;
        read_object!(map, {
            "namespace" => namespace,
            "labels" => labels,
            "annotations" => annotations,
            "ownerReferences" => owners,
        });
        Ok(Some(Self {
            namespace: namespace.value(),
            labels: labels.value().unwrap_or_default(),
            owner: owners.value().and_then(|owners| owners.controller),
            annotations: match annotations {
                Lenient::Value(annotations) => annotations,
                Lenient::Absent => Annotations::default(),
                Lenient::Other => Annotations {
                    unusable: true,
                    ..Annotations::default()
                },
            },
        }))
    }
}

#[derive(Default)]
struct Spec<'a> {
    init_containers: Elements<'a>,
    containers: Elements<'a>,
    ephemeral_containers: Elements<'a>,
    volumes: Elements<'a>,
    pull_secrets: PullSecrets<'a>,
}

impl<'de> Read<'de> for Spec<'de> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut init_containers: Lenient<Containers<'de>> = Lenient::Absent;
        let mut containers: Lenient<Containers<'de>> = Lenient::Absent;
        let mut ephemeral_containers: Lenient<Containers<'de>> = Lenient::Absent;
        let mut volumes: Lenient<Volumes<'de>> = Lenient::Absent;
        let mut pull_secrets: Lenient<PullSecrets<'de>> = Lenient::Absent;
        read_object!(map, {
            "initContainers" => init_containers,
            "containers" => containers,
            "ephemeralContainers" => ephemeral_containers,
            "volumes" => volumes,
            "imagePullSecrets" => pull_secrets,
        });
        Ok(Some(Self {
            init_containers: init_containers.value().unwrap_or_default().0,
            containers: containers.value().unwrap_or_default().0,
            ephemeral_containers: ephemeral_containers.value().unwrap_or_default().0,
            volumes: volumes.value().unwrap_or_default().0,
            pull_secrets: match pull_secrets {
                Lenient::Value(pull_secrets) => pull_secrets,
                Lenient::Absent => PullSecrets::default(),
                Lenient::Other => PullSecrets {
                    unusable: true,
                    ..PullSecrets::default()
                },
            },
        }))
    }
}

// Most Pods have one or two of the four lists: inline, the others would be moved about as well.
type Elements<'a> = Vec<Element<'a>>;

/// An element of a list that names an image.
struct Element<'a> {
    index: usize,
    name: Option<Cow<'a, str>>,
    image: Cow<'a, str>,
    pull_policy: Option<Cow<'a, str>>,
}

#[derive(Default)]
struct Containers<'a>(Elements<'a>);

#[derive(Default)]
struct Volumes<'a>(Elements<'a>);

impl<'de> Read<'de> for Containers<'de> {
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut elements = Elements::new();
        let mut index = 0;
        while let Some(container) = seq.next_element::<Lenient<Container<'de>>>()? {
            if let Some(Container {
                name,
                image: Some(image),
                pull_policy,
            }) = container.value()
            {
                elements.push(Element {
                    index,
                    name,
                    image,
                    pull_policy,
                });
            }
            index += 1;
        }
        Ok(Some(Self(elements)))
    }
}

impl<'de> Read<'de> for Volumes<'de> {
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut elements = Elements::new();
        let mut index = 0;
        while let Some(volume) = seq.next_element::<Lenient<Volume<'de>>>()? {
            if let Some(Volume {
                name,
                image:
                    Some(ImageVolume {
                        reference: Some(image),
                        pull_policy,
                    }),
            }) = volume.value()
            {
                elements.push(Element {
                    index,
                    name,
                    image,
                    pull_policy,
                });
            }
            index += 1;
        }
        Ok(Some(Self(elements)))
    }
}

struct Container<'a> {
    name: Option<Cow<'a, str>>,
    image: Option<Cow<'a, str>>,
    pull_policy: Option<Cow<'a, str>>,
}

impl<'de> Read<'de> for Container<'de> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let (mut name, mut image, mut pull_policy) = (Text::Absent, Text::Absent, Text::Absent);
        read_object!(map, { "name" => name, "image" => image, "imagePullPolicy" => pull_policy });
        Ok(Some(Self {
            name: name.value(),
            image: image.value(),
            pull_policy: pull_policy.value(),
        }))
    }
}

struct Volume<'a> {
    name: Option<Cow<'a, str>>,
    image: Option<ImageVolume<'a>>,
}

impl<'de> Read<'de> for Volume<'de> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut name = Text::Absent;
        let mut image: Lenient<ImageVolume<'de>> = Lenient::Absent;
        read_object!(map, { "name" => name, "image" => image });
        Ok(Some(Self {
            name: name.value(),
            image: image.value(),
        }))
    }
}

struct ImageVolume<'a> {
    reference: Option<Cow<'a, str>>,
    pull_policy: Option<Cow<'a, str>>,
}

impl<'de> Read<'de> for ImageVolume<'de> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let (mut reference, mut pull_policy) = (Text::Absent, Text::Absent);
        read_object!(map, { "reference" => reference, "pullPolicy" => pull_policy });
        Ok(Some(Self {
            reference: reference.value(),
            pull_policy: pull_policy.value(),
        }))
    }
}

impl<'de> Read<'de> for PullSecrets<'de> {
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut names = SmallVec::new();
        while let Some(secret) = seq.next_element::<Lenient<SecretName<'de>>>()? {
            names.push(secret.value().map(|secret| secret.0).unwrap_or_default());
        }
        Ok(Some(Self {
            names,
            present: true,
            unusable: false,
        }))
    }
}

struct SecretName<'a>(Cow<'a, str>);

impl<'de> Read<'de> for SecretName<'de> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut name = Text::Absent;
        read_object!(map, { "name" => name });
        Ok(Some(Self(name.value().unwrap_or_default())))
    }
}

impl<'de> Read<'de> for StrMap<'de> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut entries = SmallVec::new();
        while let Some(Key(key)) = map.next_key()? {
            match map.next_value::<Text<'de>>()? {
                Lenient::Value(value) => entries.push((key, value)),
                // Go reads null as the empty string.
                Lenient::Absent => entries.push((key, Cow::Borrowed(""))),
                Lenient::Other => {}
            }
        }
        if entries.len() > FEW {
            // Stable: of a key that comes twice the last stays last.
            entries.sort_by(|(left, _), (right, _): &(Cow<'_, str>, Cow<'_, str>)| left.cmp(right));
        }
        Ok(Some(Self(entries)))
    }
}

impl<'de> Read<'de> for Annotations<'de> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut annotations = Self {
            present: true,
            ..Self::default()
        };
        while let Some(Key(key)) = map.next_key()? {
            let value = map.next_value::<Text<'de>>()?.value().unwrap_or_default();
            annotations.bytes += key.len() + value.len();
            match &*key {
                MIRROR => annotations.mirror = true,
                RULES => annotations.rules = Some(value),
                _ => {}
            }
        }
        Ok(Some(annotations))
    }
}

type Text<'a> = Lenient<Cow<'a, str>>;

/// So many labels are searched one by one.
const FEW: usize = 16;

/// The kubelet sets it on the mirrors of static Pods.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";

/// The annotation with the rules that decided.
pub(crate) const RULES: &str = "waypost.dev/rules";
