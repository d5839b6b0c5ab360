//! From whoever says something to the client that it is for.

use base::Refused;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{failure::refused, proxy::stopped};

/// What a client's stream consists of.
pub(crate) trait Source: Send + 'static {
    type Message: Send + 'static;

    /// The next message; `None` behind the last. Dropping the future loses none.
    fn next(&mut self) -> impl Future<Output = Result<Option<Self::Message>, Status>> + Send;
}

/// A stream to a client.
pub(crate) type Pumped<T> = ReceiverStream<Result<T, Status>>;

/// Has all of a source told to a client, which may leave so many messages unread. It ends with the
/// source, with the client, and with the proxy, whichever is first.
pub(crate) fn pump<S: Source>(
    source: S,
    room: usize,
    stop: watch::Receiver<bool>,
) -> Pumped<S::Message> {
    let (send, messages) = mpsc::channel(room);
    tokio::spawn(go_on(source, send, stop));
    ReceiverStream::new(messages)
}

async fn go_on<S: Source>(
    mut source: S,
    send: mpsc::Sender<Result<S::Message, Status>>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        // Nothing is taken from the source that there is no room for.
        let room = tokio::select! {
            room = send.reserve() => room,
            () = stopped(&mut stop) => {
                send.send(Err(refused(Refused::Stopped))).await.ok();
                return;
            }
        };
        let Ok(room) = room else { return };
        let message = tokio::select! {
            message = source.next() => message,
            () = send.closed() => return,
            () = stopped(&mut stop) => Err(refused(Refused::Stopped)),
        };
        let Some(message) = message.transpose() else { return };
        let is_last = message.is_err();
        room.send(message);
        if is_last {
            return;
        }
    }
}
