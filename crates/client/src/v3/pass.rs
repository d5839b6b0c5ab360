//! Calls that are passed on as they are, for somebody else.

use bytes::{Buf as _, BufMut as _, Bytes};
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use super::{channel::Channel, client::Client, error::Error, round::Policy, streams::broken};

/// Messages of gRPC that nobody reads on the way.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsItIs;

impl Codec for AsItIs {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for AsItIs {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(message);
        Ok(())
    }
}

impl Decoder for AsItIs {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}

impl Client {
    /// Calls the method at `path` (`/SERVICE/NAME`) with an encoded message; the answer's bytes.
    ///
    /// `is_repeatable`: it may be carried out twice, and so be asked of the next endpoint.
    pub async fn pass(
        &self,
        path: &'static str,
        message: Bytes,
        is_repeatable: bool,
    ) -> Result<Bytes, Error> {
        self.check_size(message.len())?;
        let policy = if is_repeatable { Policy::Repeatable } else { Policy::Once };
        self.carry_out(policy, |channel| {
            let request = Request::new(message.clone());
            async move {
                let mut grpc = grpc(channel);
                grpc.ready().await.map_err(|lost| Status::from_error(Box::new(lost)))?;
                grpc.unary(request, path_of(path), AsItIs).await
            }
        })
        .await
    }

    /// The same for a method that answers in many messages.
    pub async fn pass_stream(&self, path: &'static str, message: Bytes) -> Result<Passed, Error> {
        self.check_size(message.len())?;
        let stream = self.carry_out(Policy::Repeatable, |channel| {
            let request = Request::new(message.clone());
            async move {
                let mut grpc = grpc(channel);
                grpc.ready().await.map_err(|lost| Status::from_error(Box::new(lost)))?;
                grpc.server_streaming(request, path_of(path), AsItIs).await
            }
        });
        Ok(Passed(stream.await?))
    }
}

fn grpc(channel: Channel) -> Grpc<Channel> {
    let (origin, limit) = (channel.origin.clone(), channel.answer_bytes_max);
    Grpc::with_origin(channel, origin)
        .max_decoding_message_size(limit)
        .max_encoding_message_size(usize::MAX)
}

fn path_of(path: &'static str) -> http::uri::PathAndQuery {
    http::uri::PathAndQuery::from_static(path)
}

/// The messages of an answer, as they come.
#[derive(Debug)]
pub struct Passed(Streaming<Bytes>);

impl Passed {
    /// The next message; `None` behind the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        self.0.message().await.map_err(|status| broken(&status))
    }
}
