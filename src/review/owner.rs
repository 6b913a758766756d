//! Who made a Pod: the controller among its owners.

use std::borrow::Cow;

use super::json::{Json, NotJson};

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

impl<'a> Owner<'a> {
    /// Reads `metadata.ownerReferences`.
    pub(super) fn read(json: &mut Json<'a>) -> Result<Option<Self>, NotJson> {
        let mut controller = None;
        json.list(|json| {
            let owner = Self::read_one(json)?;
            controller = controller.take().or(owner);
            Ok(())
        })?;
        Ok(controller)
    }

    /// None for an owner that is no controller.
    fn read_one(json: &mut Json<'a>) -> Result<Option<Self>, NotJson> {
        let (mut api_version, mut kind, mut name, mut uid) = (None, None, None, None);
        let mut is_controller = false;
        json.object(|json, key| {
            match &*key {
                b"apiVersion" => api_version = json.text()?.value(),
                b"kind" => kind = json.text()?.value(),
                b"name" => name = json.text()?.value(),
                b"uid" => uid = json.text()?.value(),
                b"controller" => is_controller = json.boolean()?.value().unwrap_or_default(),
                _ => json.skip()?,
            }
            Ok(())
        })?;
        let (Some(api_version), Some(kind), Some(name), Some(uid), true) =
            (api_version, kind, name, uid, is_controller)
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            api_version,
            kind,
            name,
            uid,
        }))
    }
}
