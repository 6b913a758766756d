//! A server in a thread of its own, which can be taken down and is at the same port when it comes back.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc as blocking,
    },
    thread,
    time::Duration,
};

use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Builder,
    sync::mpsc,
    task::JoinSet,
    time::sleep,
};

/// What is wrong with a service that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Every call is answered by this status and a page that is no answer.
    Status(u16),
    /// Every call is answered as it should be, after this time.
    Slow(Duration),
    /// Every call is left without an answer half of the time, by chance: by a 503, or by a connection that ends.
    Half,
}

pub(crate) type Body = BoxBody<Bytes, hyper::Error>;

/// What a server does.
pub(crate) trait Answers: Send + Sync + 'static {
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send;
}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    /// As others reach it.
    pub(crate) address: SocketAddr,
    orders: mpsc::UnboundedSender<(Order, blocking::Sender<()>)>,
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    fault: Mutex<Fault>,
    calls: AtomicU64,
    failed: AtomicU64,
}

#[derive(Clone, Copy)]
enum Order {
    Down,
    Up,
}

/// How a call ends that a fault is the end of.
enum Lost {
    Status(StatusCode),
    Connection,
}

impl Server {
    /// On a free port: at an address of this machine's loopback alone, else at every address of it, of which this is the one that it is
    /// called by.
    pub(crate) fn start<A: Answers>(ip: IpAddr, answers: impl FnOnce(SocketAddr) -> A) -> Self {
        let bind = if ip.is_loopback() {
            ip
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        };
        // Here and not in the thread: whoever starts it knows the port from then on.
        let listener = std::net::TcpListener::bind((bind, 0)).expect("there is a free port");
        listener
            .set_nonblocking(true)
            .expect("a listener can be asked not to block");
        let bound = listener.local_addr().expect("a listener has an address");
        let address = SocketAddr::new(ip, bound.port());
        let answers = Arc::new(answers(address));
        let shared = Arc::<Shared>::default();
        let (orders, ordered) = mpsc::unbounded_channel();
        let serving = serve(listener, bound, ordered, answers, Arc::clone(&shared));
        // Of whoever starts it: threads are in the network of the one that made them.
        let thread = thread::Builder::new().name("stand-in".to_owned()).spawn(|| {
            let runtime = Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(serving);
        });
        Self {
            address,
            orders,
            shared,
            thread: Some(thread.expect("a thread")),
        }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections are refused from now on, and those that there are end.
    pub(crate) fn down(&self) {
        self.order(Order::Down);
    }

    /// It is back, where it was.
    pub(crate) fn up(&self) {
        self.order(Order::Up);
    }

    pub(crate) fn fails(&self, fault: Fault) {
        *self.shared.fault() = fault;
    }

    /// How often it was called, and how many of these calls a fault was the end of. Nobody calls who is refused a connection.
    pub(crate) fn calls(&self) -> (u64, u64) {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        (count(&self.shared.calls), count(&self.shared.failed))
    }

    fn order(&self, order: Order) {
        let (done, is_done) = blocking::channel();
        self.orders.send((order, done)).expect("the server runs");
        is_done.recv().expect("the server does as it is told");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Without anybody to give orders it ends.
        self.orders = mpsc::unbounded_channel().0;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn fault(&self) -> MutexGuard<'_, Fault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a call through, or is the end of it.
    async fn pass(&self) -> Result<(), Lost> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let fault = *self.fault();
        let lost = match fault {
            Fault::None => return Ok(()),
            Fault::Slow(time) => {
                sleep(time).await;
                return Ok(());
            }
            Fault::Status(status) => Lost::Status(StatusCode::from_u16(status).expect("a status")),
            Fault::Half => match chance() {
                0..64 => Lost::Status(StatusCode::SERVICE_UNAVAILABLE),
                64..128 => Lost::Connection,
                _ => return Ok(()),
            },
        };
        self.failed.fetch_add(1, Ordering::Relaxed);
        Err(lost)
    }
}

fn chance() -> u8 {
    let mut byte = [0];
    SystemRandom::new().fill(&mut byte).expect("the system has randomness");
    byte[0]
}

async fn serve<A: Answers>(
    listener: std::net::TcpListener,
    bound: SocketAddr,
    mut orders: mpsc::UnboundedReceiver<(Order, blocking::Sender<()>)>,
    answers: Arc<A>,
    shared: Arc<Shared>,
) {
    let mut listener = Some(TcpListener::from_std(listener).expect("a listener"));
    // While it is down: keeps the port from everybody else.
    let mut kept: Option<TcpSocket> = None;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some((order, done)) = order else {
                    return;
                };
                match order {
                    Order::Down => {
                        listener = None;
                        connections.shutdown().await;
                        kept = kept.or_else(|| Some(keep(bound)));
                    }
                    Order::Up => {
                        let again = kept.take().map(|socket| socket.listen(BACKLOG).expect("the port is kept"));
                        listener = listener.or(again);
                    }
                }
                // Who does not wait for it is told nothing.
                let _ = done.send(());
            }
            stream = accepted(listener.as_ref()) => {
                let (answers, shared) = (Arc::clone(&answers), Arc::clone(&shared));
                connections.spawn(async move {
                    let service = service_fn(|request| answered(&*answers, &shared, request));
                    // Whoever hangs up is gone.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A connection, as soon as there is one.
async fn accepted(listener: Option<&TcpListener>) -> tokio::net::TcpStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        // One that ended before it was accepted is nobody's.
        if let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            return stream;
        }
    }
}

fn keep(bound: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("a socket's option");
    socket.bind(bound).expect("the port is free again");
    socket
}

async fn answered<A: Answers>(
    answers: &A,
    shared: &Shared,
    request: Request<Incoming>,
) -> Result<Response<Body>, &'static str> {
    match shared.pass().await {
        Ok(()) => Ok(answers.answer(request).await),
        Err(Lost::Status(status)) => Ok(text(status, "text/html", "<html>Come back later</html>")),
        Err(Lost::Connection) => Err("for nobody to read: the connection ends"),
    }
}

pub(crate) fn text(status: StatusCode, kind: &str, body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed();
    let response = Response::builder().status(status).header(CONTENT_TYPE, kind).body(body);
    response.expect("a status and a body")
}

/// The fields of a form.
pub(crate) fn form(body: &[u8]) -> std::collections::BTreeMap<String, String> {
    let text = std::str::from_utf8(body).expect("a form is text");
    let decode = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits = [rest.next(), rest.next()].map(|digit| char::from(digit.unwrap_or_default()));
                    let digits: String = digits.iter().collect();
                    u8::from_str_radix(&digits, 16).expect("two digits behind a %")
                }
                byte => byte,
            });
        }
        String::from_utf8(bytes).expect("a field is text")
    };
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

const BACKLOG: u32 = 1024;

#[cfg(test)]
mod tests;
