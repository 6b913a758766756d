//! Push records in the Kubernetes API.

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::watch;

use super::Kubernetes;
use crate::{
    pushes::{Event, Index, PushId, Record},
    store::{PushPage, PushQuery, Pushes, StoreError},
};

impl Pushes for Kubernetes {
    fn index(&self) -> watch::Receiver<Index> {
        watch::channel(Index::default()).1
    }

    fn push<'s>(&'s self, _: &'s PushId) -> BoxFuture<'s, Result<Option<Record>, StoreError>> {
        async move { Ok(None) }.boxed()
    }

    fn pushes<'s>(&'s self, _: &'s PushQuery) -> BoxFuture<'s, Result<PushPage, StoreError>> {
        async move { Ok(PushPage::default()) }.boxed()
    }

    fn happened(&self, _: Vec<Event>) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        async move { Err(StoreError::Unsupported("not yet".to_owned())) }.boxed()
    }
}
