//! Who made a Pod: the controller among its owners.

use std::borrow::Cow;

use serde::de::{MapAccess, SeqAccess};

use super::lenient::{Key, Lenient, Read, read_object};

/// The one of `metadata.ownerReferences` that is the Pod's controller: a ReplicaSet, a Job, …
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// `apps/v1`
    pub api_version: Cow<'a, str>,
    /// `ReplicaSet`
    pub kind: Cow<'a, str>,
    /// Its name, in the Pod's namespace.
    pub name: Cow<'a, str>,
    /// Its uid.
    pub uid: Cow<'a, str>,
}

/// `metadata.ownerReferences`
#[derive(Default)]
pub(super) struct Owners<'a> {
    pub(super) controller: Option<Owner<'a>>,
}

impl<'de> Read<'de> for Owners<'de> {
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut controller = None;
        while let Some(owner) = seq.next_element::<Lenient<Reference<'de>>>()? {
            controller = controller.or(owner.value().and_then(Reference::controller));
        }
        Ok(Some(Self { controller }))
    }
}

struct Reference<'a> {
    is_controller: bool,
    texts: [Option<Cow<'a, str>>; 4],
}

impl<'a> Reference<'a> {
    fn controller(self) -> Option<Owner<'a>> {
        let [api_version, kind, name, uid] = self.texts;
        self.is_controller.then_some(())?;
        Some(Owner {
            api_version: api_version?,
            kind: kind?,
            name: name?,
            uid: uid?,
        })
    }
}

impl<'de> Read<'de> for Reference<'de> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut texts = [const { Lenient::<Cow<'de, str>>::Absent }; 4];
        let mut controller: Lenient<bool> = Lenient::Absent;
        read_object!(map, {
            "apiVersion" => texts[0],
            "kind" => texts[1],
            "name" => texts[2],
            "uid" => texts[3],
            "controller" => controller,
        });
        Ok(Some(Self {
            is_controller: controller.value().unwrap_or_default(),
            texts: texts.map(Lenient::value),
        }))
    }
}
