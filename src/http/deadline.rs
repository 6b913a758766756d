//! A deadline for what is usually there in a moment.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// The output of `future`, or none when it takes longer than `limit`: [`tokio::time::timeout`], of which the timer is not set
/// before `future` has been asked twice.
///
/// A timer that is the next to go off wakes the thread that waits for timers. Set for every body, which is there as soon as
/// it has been asked for, that would be a system call a review, and a thread that wakes up to find nothing to do.
pub(super) async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let start = Instant::now();
    let mut future = pin!(future);
    let mut asked = false;
    let soon = poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if asked => Poll::Ready(None),
        Poll::Pending => {
            asked = true;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    });
    if let Some(output) = soon.await {
        return Some(output);
    }
    match start.checked_add(limit) {
        Some(deadline) => timeout_at(deadline, future).await.ok(),
        // The clock cannot hold it: as good as none.
        None => Some(future.await),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_time_is_given_and_the_limit_counts_from_the_start() {
        let start = Instant::now();
        assert_eq!(within(LIMIT, async { 1 }).await, Some(1));
        assert_eq!(within(LIMIT, tokio::task::yield_now()).await, Some(()));
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(within(LIMIT, sleep(LIMIT / 2)).await, Some(()));
        assert_eq!(start.elapsed(), LIMIT / 2);
        assert_eq!(within(LIMIT, std::future::pending::<()>()).await, None);
        assert_eq!(start.elapsed(), LIMIT / 2 + LIMIT);
        assert_eq!(within(Duration::MAX, sleep(LIMIT)).await, Some(()));
    }
}
