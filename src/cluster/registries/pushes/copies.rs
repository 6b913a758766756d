//! Copies: who asks for one, and who takes it on.

use jiff::Timestamp;
use serde_json::json;

use super::{
    super::known::Known as Registries,
    Kubernetes, lock,
    object::{self, Object},
    what,
    writing::Standing,
};
use crate::{
    pushes::{Copying, Event, Image, MOST_COPIES, Order, Origin, PushCopy, PushId, Record, What},
    reference::Reference,
    registry::Registry,
    store::{Asked, Copy, StoreError},
};

impl Kubernetes {
    pub(super) async fn ask_for(&self, order: Order) -> Result<Asked, StoreError> {
        let id = self.ordered(&order).await?;
        // What was written for it, with the object that it is of.
        let mut login: Option<(Object, Box<str>)> = None;
        let mut is_uncertain = false;
        let mut turn = self.turn(&id).await;
        let asked = loop {
            if let Err(error) = turn.next().await {
                break Err(error);
            }
            match self.try_to_ask(&id, &order, &mut login, &mut is_uncertain).await {
                Ok(None) => {}
                Ok(Some(asked)) => break Ok(asked),
                Err(error) => break Err(error),
            }
        };
        let is_kept = asked.as_ref().is_ok_and(|asked| !asked.joined);
        // Where it may be named by now, it goes later if it is not.
        if let Some((object, name)) = login.filter(|_| !is_kept && !is_uncertain) {
            self.remove_login(&object, &name).await;
        }
        asked
    }

    async fn try_to_ask(
        &self,
        id: &PushId,
        order: &Order,
        login: &mut Option<(Object, Box<str>)>,
        is_uncertain: &mut bool,
    ) -> Result<Option<Asked>, StoreError> {
        let Some(Standing { owner, object }) = self.standing(id).await? else {
            return Ok(None);
        };
        let object = match object {
            // That was first.
            Some(object) if object.is_asked() => match self.take_on(object).await? {
                Some(object) => Some(object),
                None => return Ok(None),
            },
            object => object,
        };
        let record = object.as_ref().and_then(|object| object.record().ok().flatten());
        let record = record.unwrap_or_else(|| Record::new(order.image.clone(), &order.registry));
        if record.copying.is_some() {
            return Ok(Some(Asked { record, joined: true }));
        }
        self.is_room_for_a_copy()?;
        let Some(object) = self.home_of(&record, object, &owner).await? else {
            return Ok(None);
        };
        if let Some((written, name)) = login.take_if(|(written, _)| written.uid != object.uid) {
            self.remove_login(&written, &name).await;
        }
        if let (None, Some(given)) = (&login, &order.login) {
            let name = self.write_login(&object, given).await?;
            *login = Some((object.clone(), name));
        }
        let copying = Copying {
            asked_at: Timestamp::now(),
            referrers: order.referrers,
            refresh: order.refresh,
            source: order.source.clone(),
            login: login.as_ref().map(|(_, name)| name.clone()),
        };
        let record = asked(record, copying);
        match self.write_status(&record, &object, false).await {
            Ok(None) => Ok(None),
            Ok(Some(_)) => Ok(Some(Asked { record, joined: false })),
            Err(failed) => {
                *is_uncertain = !failed.is_certain();
                Err(failed.error)
            }
        }
    }

    pub(super) async fn ask_aside(&self, order: Order) -> Result<(), StoreError> {
        let id = self.ordered(&order).await?;
        let mut turn = self.turn(&id).await;
        loop {
            turn.next().await?;
            if self.try_to_ask_aside(&id, &order).await?.is_some() {
                return Ok(());
            }
        }
    }

    async fn try_to_ask_aside(&self, id: &PushId, order: &Order) -> Result<Option<()>, StoreError> {
        let copy = PushCopy {
            requested_at: Some(Timestamp::now().to_string()),
            referrers: order.referrers,
            refresh: order.refresh,
            source: order.source.as_deref().map(str::to_owned),
            credential: None,
        };
        let not_found = || StoreError::NotFound(id.registry().to_owned());
        let Some(object) = self.push_object(id.as_str()).await? else {
            self.is_room_for_a_copy()?;
            let owner = self.owner_now(id.registry()).await?.ok_or_else(not_found)?;
            let record = Record::new(order.image.clone(), &order.registry);
            let place = self.room_aside(id.as_str())?;
            return Ok(self.create_push(&record, &owner, Some(copy), place).await?.map(|_| ()));
        };
        let owner = self.owner_now(id.registry()).await?.ok_or_else(not_found)?;
        let is_of_another = object.owner.as_ref().is_some_and(|uid| *uid != owner.uid);
        if is_of_another || object.image.is_err() {
            return Err(StoreError::Unavailable(format!(
                "{} is nobody's or of a registry that is no more: the controller takes it away when it is told of a push of this name",
                what(id.as_str())
            )));
        }
        if object.is_open() {
            return Ok(Some(()));
        }
        self.is_room_for_a_copy()?;
        let copy = json!({
            "requestedAt": copy.requested_at,
            "referrers": copy.referrers.then_some(true),
            "refresh": copy.refresh.then_some(true),
            "source": copy.source,
            // That of somebody who asked before is gone.
            "credential": null,
        });
        let patched = self.patch_push(&object, json!({"spec": {"copy": copy}})).await?;
        Ok(patched.map(|_| ()))
    }

    /// Its id, where there is such a registry.
    async fn ordered(&self, order: &Order) -> Result<PushId, StoreError> {
        match self.owner(&order.registry).await? {
            Some(_) => Ok(PushId::new(&order.registry, order.image.key())),
            None => Err(StoreError::NotFound(order.registry.to_string())),
        }
    }

    fn is_room_for_a_copy(&self) -> Result<(), StoreError> {
        if lock(&self.pushes.known).wanted() < MOST_COPIES {
            return Ok(());
        }
        Err(StoreError::Busy(format!(
            "{MOST_COPIES} copies were asked for and have not ended: ask again later"
        )))
    }

    pub(super) async fn take_copy(&self, id: &PushId) -> Result<Option<Copy>, StoreError> {
        let mut turn = self.turn(id).await;
        loop {
            turn.next().await?;
            if let Some(taken) = self.try_to_take(id).await? {
                return Ok(taken);
            }
        }
    }

    async fn try_to_take(&self, id: &PushId) -> Result<Option<Option<Copy>>, StoreError> {
        let Some(object) = self.push_object(id.as_str()).await? else {
            return Ok(Some(None));
        };
        if let Err(why) = &object.image {
            let answer = object::answer(&object, "False", "NotUnderstood", why.clone());
            let Some(answer) = answer.filter(|_| object.is_unanswered()) else {
                return Ok(Some(None));
            };
            let answered = self.patch_push_status(&object, answer).await?;
            return Ok(answered.map(|_| None));
        }
        let Some(owner) = self.owner_now(id.registry()).await? else {
            if object.owner.is_some() {
                // It goes with its registry.
                return Ok(Some(None));
            }
            let registry = id.registry();
            let why = format!(
                "there is no registry `{registry}`: it is copied when somebody has registered one of this name"
            );
            if let Some(answer) = object::answer(&object, "Unknown", "NoRegistry", why) {
                self.patch_push_status(&object, answer).await?;
            }
            return Err(StoreError::NotFound(registry.to_owned()));
        };
        if object.owner.as_ref().is_some_and(|uid| *uid != owner.uid) {
            return Ok(Some(None));
        }
        let object = if object.is_asked() {
            match self.take_on(object).await? {
                Some(object) => object,
                None => return Ok(None),
            }
        } else {
            object
        };
        let Ok(Some(record)) = object.record() else {
            return Ok(Some(None));
        };
        let Some(copying) = &record.copying else {
            return Ok(Some(None));
        };
        let login = match &copying.login {
            None => None,
            Some(name) => match self.read_login(&object, name).await? {
                Ok(login) => Some(login),
                Err(why) => {
                    let failed = Event {
                        image: record.image.clone(),
                        registry: record.registry.clone(),
                        at: Timestamp::now(),
                        origin: Origin::Copy,
                        what: What::Failed { error: why.into() },
                    };
                    return Ok(self.keep_one(id, failed).await?.map(|_| None));
                }
            },
        };
        Ok(Some(Some(Copy { record, login })))
    }

    /// Somebody asks for a copy by his object: from now on its status says so. None where somebody else was faster.
    async fn take_on(&self, object: Object) -> Result<Option<Object>, StoreError> {
        let (Ok(image), Some(owner)) = (object.image.clone(), self.owner_now(object.registry()).await?) else {
            return Ok(None);
        };
        let before = object.record().ok().flatten();
        let before = before.unwrap_or_else(|| Record::new(image, object.registry()));
        let copy = &object.copy;
        let source = copy.source.as_deref().map(Box::from);
        let copying = Copying {
            asked_at: object.asked_at,
            referrers: copy.referrers,
            refresh: copy.refresh,
            source: source.or_else(|| source_of(&lock(&self.known), &before.image)),
            login: copy
                .credential
                .as_ref()
                .map(|credential| credential.name.as_str().into()),
        };
        if let Some(name) = &copying.login {
            // Before it is named: whatever happens then, it does not stay.
            self.adopt_login(&object, name).await?;
        }
        let record = asked(before, copying);
        match self.home_of(&record, Some(object), &owner).await? {
            Some(object) => Ok(self.write_status(&record, &object, true).await?),
            None => Ok(None),
        }
    }
}

/// A record whose copy is asked for, which it was not.
fn asked(record: Record, copying: Copying) -> Record {
    let now = Timestamp::now();
    let asked = Event {
        image: record.image.clone(),
        registry: record.registry.clone(),
        at: now,
        origin: Origin::Copy,
        what: What::Asked(copying),
    };
    record.after(&asked, now, 0).unwrap_or(record)
}

/// The registry by whose credential an image is read for somebody of whom nothing is known: that which the image lies in, where everybody's
/// Pods may use it.
fn source_of(known: &Registries, image: &Image) -> Option<Box<str>> {
    let reference = Reference::parse(image.as_str()).ok()?;
    let registries = known.registries();
    let registries = registries.iter().filter_map(|stored| stored.registry().ok());
    let over: Vec<Registry> = registries.filter(|registry| registry.is_over(&reference)).collect();
    let depth = |registry: &Registry| registry.address.kubelet_key().len();
    // Of an organization in a registry, the registry's is not meant.
    let deepest = over.iter().map(depth).max()?;
    let mut deepest = over.iter().filter(|registry| depth(registry) == deepest);
    let found = deepest.find(|registry| registry.namespaces.admits_all())?;
    Some(found.id.clone())
}
