//! Which pushes are to be looked at before their turn.

use std::{collections::VecDeque, time::Duration};

use tokio::{sync::watch, time::sleep};

use crate::{
    pushes::{Image, Index, Key},
    reference::Reference,
};

/// A push that is to be looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct New {
    pub(super) registry: Box<str>,
    pub(super) key: Key,
}

/// What has changed in an index.
pub(super) struct News {
    index: watch::Receiver<Index>,
    withdrawn: VecDeque<Image>,
}

impl News {
    pub(super) fn new(index: watch::Receiver<Index>) -> Self {
        Self {
            index,
            withdrawn: VecDeque::new(),
        }
    }

    /// A push of the image is gone, and another may be the latest by now.
    pub(super) fn is_withdrawn(&mut self, image: Image) {
        if self.withdrawn.len() < MOST_WITHDRAWN {
            self.withdrawn.push_back(image);
        }
    }

    /// The next of them. May be dropped, and asked again.
    pub(super) async fn next(&mut self) -> New {
        loop {
            if self.withdrawn.is_empty() {
                std::future::pending::<()>().await;
            }
            sleep(AFTER).await;
            let index = self.index.borrow_and_update().clone();
            while let Some(image) = self.withdrawn.pop_front() {
                let latest = Reference::parse(image.as_str()).ok();
                let latest = latest.and_then(|image| Some(index.find(&image).first()?.registry.into()));
                if let Some(registry) = latest {
                    let key = image.key();
                    return New { registry, key };
                }
            }
        }
    }
}

/// Whoever follows the store may be a moment behind.
const AFTER: Duration = Duration::from_secs(1);

const MOST_WITHDRAWN: usize = 1_000;
