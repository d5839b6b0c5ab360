//! Messages of unary calls, in buffers of their size.

use std::marker::PhantomData;

use tonic::codec::{BufferSettings, Codec as Tonics};
use tonic_prost::ProstCodec;
use tonic_prost::prost::Message;

/// What a buffer begins with. tonic takes 8 KiB for each request and each answer, and of a request that
/// waits, all that was read into its buffer stays as long as its key does.
const BUFFER_BYTES: usize = 256;
/// What is encoded of a stream before it is sent on, as in tonic.
const YIELD_BYTES: usize = 32 * 1024;

/// Encodes and decodes messages as tonic's own codec does.
#[derive(Debug)]
pub(crate) struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Tonics for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Tonics>::Encoder;
    type Decoder = <ProstCodec<T, U> as Tonics>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER_BYTES, YIELD_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER_BYTES, YIELD_BYTES))
    }
}
