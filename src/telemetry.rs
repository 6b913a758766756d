//! What the process says about itself: the log, on stderr, and panics in it.

use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::{Log, LogFormat, LogLevel};

/// Starts the log of this process and sends panics to it. Call it once, before anything is worth logging.
///
/// # Errors
/// Where a log has been started already.
pub fn init(log: &Log) -> Result<(), AlreadyStarted> {
    let terminal = io::stderr().is_terminal();
    let colour = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    let subscriber = subscriber(log.level, is_json(log), terminal && colour, io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| AlreadyStarted)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Whether the log is for programs: people read text.
#[must_use]
pub fn is_json(log: &Log) -> bool {
    match log.format {
        LogFormat::Text => false,
        LogFormat::Json => true,
        LogFormat::Auto => !io::stderr().is_terminal(),
    }
}

/// The log was started before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log has been started already")]
pub struct AlreadyStarted;

fn subscriber<W>(level: LogLevel, json: bool, colour: bool, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer).with_ansi(colour);
    let layer = if json {
        layer.json().flatten_event(true).boxed()
    } else {
        layer.boxed()
    };
    Box::new(tracing_subscriber::registry().with(layer.with_filter(filter(level))))
}

/// Dependencies are a step quieter than Waypost: nobody who asks for our decisions asks for HTTP/2 frames.
fn filter(level: LogLevel) -> Targets {
    let (ours, theirs) = match level {
        LogLevel::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
        LogLevel::Warn => (LevelFilter::WARN, LevelFilter::WARN),
        LogLevel::Info => (LevelFilter::INFO, LevelFilter::WARN),
        LogLevel::Debug => (LevelFilter::DEBUG, LevelFilter::INFO),
        LogLevel::Trace => (LevelFilter::TRACE, LevelFilter::TRACE),
    };
    // kube warns of every watch that is cut, and the watch itself says when it is broken.
    let kube = if theirs == LevelFilter::WARN {
        LevelFilter::ERROR
    } else {
        theirs
    };
    Targets::new()
        .with_default(theirs)
        .with_target("kube_client", kube)
        .with_target(env!("CARGO_PKG_NAME"), ours)
}

/// A panic is one event like any other, so that it reaches whoever collects the log.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture(); // empty unless RUST_BACKTRACE asks for it
    tracing::error!(
        thread = thread.name().unwrap_or("unnamed"),
        location = panic.location().map(tracing::field::display),
        backtrace = (backtrace.status() == std::backtrace::BacktraceStatus::Captured)
            .then(|| tracing::field::display(&backtrace)),
        "panic: {}",
        panic.payload_as_str().unwrap_or("no message"),
    );
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::{log_panic, subscriber};
    use crate::config::LogLevel;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: LogLevel, json: bool, colour: bool, work: impl FnOnce()) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        tracing::subscriber::with_default(subscriber(level, json, colour, move || writer.clone()), work);
        let bytes = memory.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_have_message_and_fields_side_by_side() {
        let line = logged(LogLevel::Info, true, false, || {
            tracing::info!(image = "alpine", "rewritten")
        });
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["message"], "rewritten");
        assert_eq!(event["image"], "alpine");
        assert_eq!(event["level"], "INFO");
    }

    #[test]
    fn levels_hold_for_us_and_a_step_less_for_dependencies() {
        let rows = [
            (LogLevel::Error, false, false),
            (LogLevel::Info, true, false),
            (LogLevel::Debug, true, true),
        ];
        for (level, ours, theirs) in rows {
            let text = logged(level, false, false, || {
                tracing::info!("from us");
                tracing::info!(target: "hyper::proto", "from hyper");
            });
            assert_eq!(
                (text.contains("from us"), text.contains("from hyper")),
                (ours, theirs),
                "{level:?}"
            );
        }
    }

    #[test]
    fn colours_are_only_there_where_wanted() {
        for colour in [true, false] {
            let text = logged(LogLevel::Info, false, colour, || tracing::info!("x"));
            assert_eq!(text.contains('\x1b'), colour);
        }
    }

    #[test]
    fn a_panic_is_an_event_with_its_place() {
        let text = logged(LogLevel::Error, true, false, || {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(log_panic));
            let result = std::panic::catch_unwind(|| panic!("deliberate"));
            std::panic::set_hook(before);
            assert!(result.is_err());
        });
        let event: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(event["message"], "panic: deliberate");
        assert!(event["location"].as_str().unwrap().contains("telemetry.rs"));
    }
}
