//! How items become a batch.

use kiln_tensor::{Bool, Device, Element, Float, Int, Kind, Tensor, bf16, f16};

/// Makes a batch of items: a struct of yours, a closure `|items: Vec<Item>, device: &Device| ..`,
/// or [`Stack`]. It runs on the threads of the loader.
///
/// A wrong shape inside of it is an `Err` of the loader, as in [`guard`](crate::guard).
pub trait Batcher<I, O>: Send + Sync {
    /// The batch of these items.
    fn batch(&self, items: Vec<I>, device: &Device) -> O;
}

impl<I, O, F: Fn(Vec<I>, &Device) -> O + Send + Sync> Batcher<I, O> for F {
    fn batch(&self, items: Vec<I>, device: &Device) -> O {
        self(items, device)
    }
}

/// Puts items of one shape side by side along a new first axis, as [`Collate`] says for their type:
/// `torch.utils.data.default_collate`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stack;

impl<I: Collate> Batcher<I, I::Batch> for Stack {
    fn batch(&self, items: Vec<I>, device: &Device) -> I::Batch {
        I::collate(items, device)
    }
}

/// Items that have an obvious batch. Numbers become a tensor of rank 1, arrays of numbers one of
/// rank 2, tensors one of a rank more, strings a `Vec`, tuples a tuple of batches.
///
/// ```
/// use kiln::data::Collate;
/// use kiln::prelude::*;
/// let (x, y) = Collate::collate(vec![([0.5f32, 1.5], 3i64), ([2.5, 3.5], 4)], &Device::cpu());
/// assert_eq!((x.dims(), y.dims()), ([2, 2], [2]));
/// ```
pub trait Collate: Sized {
    /// A batch of these items.
    type Batch;

    /// Makes the batch. Panics if shapes differ.
    #[track_caller]
    fn collate(items: Vec<Self>, device: &Device) -> Self::Batch;
}

/// A number that a tensor can be made of.
pub trait Number: Element {
    /// The kind of that tensor.
    type Kind: Kind;
}

macro_rules! numbers {
    ($($kind:ident: $($number:ident),+;)+) => {
        $($(impl Number for $number { type Kind = $kind; })+)+
    };
}
numbers! {
    Float: f64, f32, f16, bf16;
    Int: i64, i32, i16, i8, u64, u32, u16, u8;
    Bool: bool;
}

impl<N: Number> Collate for N {
    type Batch = Tensor<1, N::Kind>;

    fn collate(items: Vec<Self>, device: &Device) -> Self::Batch {
        Tensor::from_data(items, device)
    }
}

impl<N: Number, const LEN: usize> Collate for [N; LEN] {
    type Batch = Tensor<2, N::Kind>;

    fn collate(items: Vec<Self>, device: &Device) -> Self::Batch {
        let rows = items.len();
        Tensor::<1, N::Kind>::from_data(items.into_flattened(), device).reshape([rows, LEN])
    }
}

impl Collate for usize {
    type Batch = Tensor<1, Int>;

    fn collate(items: Vec<Self>, device: &Device) -> Self::Batch {
        Tensor::from_data(&items[..], device)
    }
}

impl Collate for String {
    type Batch = Vec<String>;

    fn collate(items: Vec<Self>, _: &Device) -> Self::Batch {
        items
    }
}

// Rust can not say yet that the rank of a batch is one more.
macro_rules! tensors {
    ($($rank:literal $batch:literal),+) => {$(
        impl<K: Kind> Collate for Tensor<$rank, K> {
            type Batch = Tensor<$batch, K>;

            fn collate(items: Vec<Self>, device: &Device) -> Self::Batch {
                Tensor::stack::<$batch>(items, 0).to_device(device)
            }
        }
    )+};
}
tensors!(0 1, 1 2, 2 3, 3 4, 4 5, 5 6, 6 7, 7 8);

impl<A: Collate, B: Collate> Collate for (A, B) {
    type Batch = (A::Batch, B::Batch);

    fn collate(items: Vec<Self>, device: &Device) -> Self::Batch {
        let (a, b) = items.into_iter().unzip();
        (A::collate(a, device), B::collate(b, device))
    }
}

impl<A: Collate, B: Collate, C: Collate> Collate for (A, B, C) {
    type Batch = (A::Batch, B::Batch, C::Batch);

    fn collate(items: Vec<Self>, device: &Device) -> Self::Batch {
        let (a, rest) = items.into_iter().map(|(a, b, c)| (a, (b, c))).unzip();
        let (b, c) = <(B, C)>::collate(rest, device);
        (A::collate(a, device), b, c)
    }
}
