//! Values out of tensors.

use crate::error::OrFail;
use crate::tensor::{Kind, Tensor};
use crate::{Element, Result, TensorData};

impl<const D: usize, K: Kind> Tensor<D, K> {
    /// A copy of the values in row-major order.
    #[track_caller]
    pub fn to_data(&self) -> TensorData {
        self.try_to_data().or_fail()
    }

    /// The values in row-major order; not copied if this tensor was made of [`TensorData`] or a
    /// `Vec` of its dtype and no other shares its memory.
    #[track_caller]
    pub fn into_data(self) -> TensorData {
        self.try_into_data().or_fail()
    }

    /// As [`Tensor::to_data`], with an error if the device fails.
    pub fn try_to_data(&self) -> Result<TensorData> {
        self.as_any().to_data()
    }

    /// As [`Tensor::into_data`], with an error if the device fails.
    pub fn try_into_data(self) -> Result<TensorData> {
        self.into_any().into_data()
    }

    /// The elements where they are in host memory, in row-major order. An error if they are of
    /// another type than `E`, lie in another order, or are on another device.
    ///
    /// ```
    /// use kiln_tensor::Tensor;
    /// let x = Tensor::<2>::from([[1.0, 2.0], [3.0, 4.0]]);
    /// assert_eq!(x.as_slice::<f32>()?, [1.0, 2.0, 3.0, 4.0]);
    /// assert!(x.transpose().as_slice::<f32>().is_err());
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    pub fn as_slice<E: Element>(&self) -> Result<&[E]> {
        self.as_any().as_slice()
    }

    /// A copy of the elements in row-major order. Panics if they are not of type `E`.
    #[track_caller]
    pub fn to_vec<E: Element>(&self) -> Vec<E> {
        self.try_to_vec().or_fail()
    }

    /// The elements in row-major order, without a copy where [`Tensor::into_data`] needs none.
    /// Panics if they are not of type `E`.
    #[track_caller]
    pub fn into_vec<E: Element>(self) -> Vec<E> {
        self.try_into_vec().or_fail()
    }

    /// As [`Tensor::to_vec`], with an error if the elements are not of type `E`.
    pub fn try_to_vec<E: Element>(&self) -> Result<Vec<E>> {
        self.as_any().to_vec()
    }

    /// As [`Tensor::into_vec`], with an error if the elements are not of type `E`.
    pub fn try_into_vec<E: Element>(self) -> Result<Vec<E>> {
        self.into_any().into_vec()
    }

    /// A copy of the elements in row-major order, converted to `E`.
    #[track_caller]
    pub fn to_vec_as<E: Element>(&self) -> Vec<E> {
        self.try_to_vec_as().or_fail()
    }

    /// The elements in row-major order, converted to `E`; without a copy where
    /// [`Tensor::into_vec`] needs none.
    #[track_caller]
    pub fn into_vec_as<E: Element>(self) -> Vec<E> {
        self.try_into_vec_as().or_fail()
    }

    /// As [`Tensor::to_vec_as`], with an error if the device fails.
    pub fn try_to_vec_as<E: Element>(&self) -> Result<Vec<E>> {
        self.try_to_data()?.into_dtype(E::DTYPE).into_vec()
    }

    /// As [`Tensor::into_vec_as`], with an error if the device fails.
    pub fn try_into_vec_as<E: Element>(self) -> Result<Vec<E>> {
        self.try_into_data()?.into_dtype(E::DTYPE).into_vec()
    }

    /// The only element, converted to `E`. Panics if there is not exactly one.
    #[track_caller]
    pub fn into_scalar<E: Element>(self) -> E {
        self.item()
    }

    /// As [`Tensor::into_scalar`], with an error if there is not exactly one element.
    pub fn try_into_scalar<E: Element>(self) -> Result<E> {
        self.as_any().try_item()
    }

    /// The only element, converted to `E`, without giving the tensor away. Panics if there is not
    /// exactly one.
    #[track_caller]
    pub fn item<E: Element>(&self) -> E {
        self.as_any().item()
    }
}

/// Several tensors that are read together: the device is waited for once.
///
/// ```
/// use kiln_tensor::{Tensor, Transaction};
/// let (loss, logits) = (Tensor::<1>::from([0.5]), Tensor::<2>::from([[1.0, 2.0]]));
/// let [loss, logits] = Transaction::default().register(&loss).register(&logits).execute().try_into().unwrap();
/// assert_eq!((loss.num_elements(), logits.num_elements()), (1, 2));
/// ```
#[derive(Default)]
pub struct Transaction(Vec<crate::AnyTensor>);

impl Transaction {
    /// Adds a tensor to what is read.
    pub fn register<const D: usize, K: Kind>(mut self, tensor: impl AsRef<Tensor<D, K>>) -> Self {
        self.0.push(tensor.as_ref().as_any().clone());
        self
    }

    /// The values of all tensors, in the order in which they were registered.
    #[track_caller]
    pub fn execute(self) -> Vec<TensorData> {
        self.try_execute().or_fail()
    }

    /// As [`Transaction::execute`], with an error if a device fails.
    pub fn try_execute(self) -> Result<Vec<TensorData>> {
        // Copies are queued behind the work that makes their sources, so the first read waits for
        // everything, and the others find the device idle.
        self.0.into_iter().map(|tensor| tensor.into_data()).collect()
    }
}
