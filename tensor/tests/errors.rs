//! What a wrong use says, where it says it, and how `guard` turns it into a value.

use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_tensor::op::Conv2dOptions;
use kiln_tensor::{
    AnyTensor, Bool, DType, Device, Error, Int, Shape, Slice, Tensor, TensorData, activation,
    guard, module, s,
};

/// The text of the error that `work` ends with.
fn text<T>(work: impl FnOnce() -> T) -> String {
    match guard(work) {
        Ok(_) => panic!("no error"),
        Err(error) => error.to_string(),
    }
}

fn zeros<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::zeros(shape, &Device::cpu())
}

fn ints<const N: usize>(values: [i64; N]) -> Tensor<1, Int> {
    Tensor::from(values)
}

#[test]
fn shapes_that_do_not_fit_are_named_with_the_rule() {
    let (a, b) = (zeros([2, 3]), zeros([4, 3]));
    assert_eq!(
        text(|| &a + &b),
        "add: shapes [2, 3] and [4, 3] do not fit: aligned at the last axis, extents must be equal \
         or one of them 1"
    );
    assert_eq!(
        text(|| a.matmul(&b)),
        "matmul: shapes [2, 3] and [4, 3] do not fit: the left has 3 columns, the right 4 rows; \
         they must be equal"
    );
    assert_eq!(
        text(|| a.reshape([4, 2])),
        "reshape: shapes [2, 3] do not fit: [4, 2] has 8 elements, the tensor has 6"
    );
    assert_eq!(
        text(|| a.reshape([-1, 4])),
        "reshape: shapes [2, 3] do not fit: [-1, 4]: the extent -1 is no whole number"
    );
    assert_eq!(
        text(|| a.reshape([-1, -1])),
        "reshape: shapes [2, 3] do not fit: [-1, -1]: only one extent may be -1"
    );
    assert_eq!(
        text(|| a.reshape([-2, 3])),
        "reshape: shapes [2, 3] do not fit: [-2, 3]: a negative extent"
    );
    assert_eq!(
        text(|| a.expand([2, 4])),
        "expand: shapes [2, 3] do not fit: can not be expanded to [2, 4]: only axes of 1 repeat"
    );
    assert_eq!(
        text(|| Tensor::cat(&[a.clone(), zeros([2, 2])], 0)),
        "cat: shapes [2, 3] and [2, 2] do not fit: shapes may differ only in axis 0"
    );
    assert_eq!(
        text(|| a.squeeze_dim::<1>(1)),
        "squeeze_dim: shapes [2, 3] do not fit: axis 1 must have extent 1"
    );
    assert_eq!(
        text(|| a.narrow(1, 2, 2)),
        "slice: shapes [2, 3] do not fit: start 2, 2 entries, step 1 leave axis 1 of extent 3"
    );
    assert_eq!(
        text(|| a.unfold::<3, _>(1, 4, 1)),
        "unfold: shapes [2, 3] do not fit: windows of 4, 1 apart, do not fit axis 1"
    );
    assert_eq!(
        text(|| zeros([0]).max()),
        "max: shapes [0] do not fit: an axis without entries has no extremum"
    );
    assert_eq!(
        text(|| a.item::<f32>()),
        "item: shapes [2, 3] do not fit: only a tensor of one element is a number"
    );
    assert_eq!(
        text(|| a.slice(s![.., .., ..])),
        "slice: shapes [2, 3] do not fit: 3 parts for 2 axes"
    );
    assert_eq!(
        text(|| a.as_any().permute(&[0, 40])),
        "permute: shapes [2, 3] do not fit: [0, 40] is not a permutation of its axes"
    );
    assert_eq!(
        text(|| a.permute([1, 1])),
        "permute: shapes [2, 3] do not fit: [1, 1] is not a permutation of its axes"
    );
    let x = zeros([1, 3, 5, 5]);
    let conv = text(|| module::conv2d(&x, zeros([2, 2, 3, 3]), None, Conv2dOptions::default()));
    assert!(conv.starts_with("conv2d: shapes [1, 3, 5, 5] and [2, 2, 3, 3] do not fit: with 1 "));
    let pool = text(|| module::max_pool2d(&x, [6, 1], [6, 1], [0, 0], [1, 1], false));
    assert!(pool.starts_with("max_pool2d: shapes [1, 3, 5, 5] do not fit: "), "{pool}");
}

#[test]
fn ranks_are_checked_where_a_tensor_gets_its_type() {
    assert_eq!(
        text(|| Tensor::<2>::from([1.0, 2.0])),
        "tensor: shapes [2] do not fit: expected rank 2, found rank 1"
    );
    assert_eq!(
        text(|| TensorData::new(vec![1.0f32; 5], [2, 3])),
        "from_data: shapes [2, 3] do not fit: there are 5 values"
    );
    assert_eq!(
        text(|| Shape::new([1; 9])),
        "shape: a tensor has at most 8 axes, [1, 1, 1, 1, 1, 1, 1, 1, 1] has 9"
    );
    let deep = zeros([1; 8]);
    assert!(text(|| deep.unsqueeze_dim::<9>(0)).contains("at most 8 axes"));
    assert!(text(|| deep.unfold::<9, _>(0, 1, 1)).contains("at most 8 axes"));
}

#[test]
fn dtypes_that_do_not_fit_are_named_with_the_rule() {
    let data = TensorData::from([1.0f32]);
    assert_eq!(
        text(|| Tensor::<1, Int>::from_data(data.clone(), (&Device::cpu(), DType::F32))),
        "tensor: dtypes f32 do not fit: not the dtype of a tensor of kind int"
    );
    let (a, b) = (zeros([2, 2]), zeros([2, 2]).cast(DType::F64));
    assert_eq!(
        text(|| a.matmul(&b)),
        "matmul: dtypes f32 and f64 do not fit: all inputs must have one dtype; convert with `cast`"
    );
    assert_eq!(
        text(|| ints([1]).as_any().exp()),
        "exp: dtypes i64 do not fit: not defined for this dtype"
    );
    assert_eq!(
        text(|| ints([1]).as_any().softmax(0)),
        "softmax: dtypes i64 do not fit: a float tensor is needed; convert with `float()`"
    );
    assert_eq!(
        data.to_vec::<f64>().unwrap_err().to_string(),
        "to_vec: dtypes f32 do not fit: the values are not f64; convert them first"
    );
    let bytes = TensorData::from_bytes(vec![2], Shape::from([1]), DType::Bool);
    assert_eq!(bytes.unwrap_err().to_string(), "from_data: a bool must be 0 or 1");
}

#[test]
fn axes_and_indices_out_of_range_are_refused() {
    let x = zeros([2, 3]);
    assert_eq!(text(|| x.sum_dim(2)), "sum_dim: axis 2 is out of range for a tensor of rank 2");
    assert_eq!(text(|| x.sum_dim(-3)), "sum_dim: axis -3 is out of range for a tensor of rank 2");
    assert_eq!(
        text(|| activation::softmax(&x, 5)),
        "softmax: axis 5 is out of range for a tensor of rank 2"
    );
    assert_eq!(text(|| x.select(1, ints([0, 3]))), "select: index 3 is out of range for 3 entries");
    assert_eq!(text(|| x.select(1, ints([-1]))), "select: index -1 is out of range for 3 entries");
    let index = Tensor::<2, Int>::from([[0], [9]]);
    assert_eq!(text(|| x.gather(1, &index)), "gather: index 9 is out of range for 3 entries");
    assert_eq!(
        text(|| module::cross_entropy(&x, ints([0, 3]))),
        "cross_entropy: index 3 is out of range for 3 entries"
    );
    let empty = zeros([0, 3]);
    assert_eq!(
        text(|| empty.select(0, ints([0]))),
        "select: index 0 is out of range for 0 entries"
    );
}

#[test]
fn integers_are_not_divided_by_zero_and_keep_their_values() {
    let mut x = ints([6, 7]);
    assert_eq!(text(|| &x / 0), "div: division by zero");
    assert_eq!(text(|| &x % 0), "remainder: division by zero");
    assert_eq!(text(|| &x / ints([1, 0])), "div: division by zero");
    assert_eq!(text(|| 5 % ints([1, 0])), "remainder: division by zero");
    assert_eq!(text(|| x /= ints([1, 0])), "div: division by zero");
    assert_eq!(text(|| x += ints([1, 2, 3])).split(':').next(), Some("add"));
    assert_eq!(x.into_data().to_vec::<i64>().unwrap(), [6, 7]);
    assert!((zeros([1]) / 0.0).into_scalar::<f32>().is_nan());
}

#[test]
fn shapes_that_overflow_are_refused_before_memory_is_touched() {
    let overflow = text(|| zeros([usize::MAX, 4]));
    assert!(overflow.contains("has more elements than memory can hold"), "{overflow}");
    assert!(text(|| zeros([0, usize::MAX, 4])).contains("more elements than memory"));
    let one = zeros([1, 1]);
    assert!(text(|| one.expand([usize::MAX / 2, 8])).contains("more elements than memory"));
    // A view needs no memory, but its copy does.
    let wide = one.expand([1 << 30, 1 << 28]);
    let copy = text(|| wide.exp());
    assert!(copy.starts_with("out of memory on cpu: "), "{copy}");
    let product = text(|| zeros([1 << 30, 0]).matmul(zeros([0, 1 << 30])));
    assert!(product.starts_with("out of memory") || product.contains("memory can hold"));
}

#[test]
fn arguments_without_meaning_are_refused() {
    let x = zeros([2]);
    assert_eq!(text(|| x.slice(Slice::new(0, None, 0))), "slice: the step must not be zero");
    assert_eq!(
        text(|| Tensor::<1, Int>::arange_step(0..3, 0, &Device::cpu())),
        "arange: the step must not be zero"
    );
    assert_eq!(
        text(|| module::dropout(&x, 1.0)),
        "dropout: the probability must be in 0..1, found 1"
    );
    assert_eq!(text(|| Tensor::<1>::cat(&[], 0)), "cat: at least one tensor is needed");
    assert_eq!(
        text(|| Tensor::<2, Bool>::full([1, 1], true, &Device::cpu()).flatten::<1>(1, 0)),
        "flatten: axis 1 comes after axis 0"
    );
}

#[test]
fn devices_do_not_mix() {
    let (cpu, other) = (zeros([2]), Tensor::<1>::zeros([2], &Device::shape_only()));
    assert_eq!(
        text(|| &cpu + &other),
        "add: one tensor is on cpu, another on shape-only; move one with `to_device`"
    );
    assert_eq!(text(|| other.to_data()), "into_data: a shape-only tensor has no values to read");
    assert_eq!(cpu.to_device(&Device::shape_only()).device(), other.device());
}

#[test]
fn guards_nest_and_let_foreign_panics_pass() {
    let inner = guard(|| {
        let inner = guard(|| zeros([2]).sum_dim(7));
        assert!(matches!(inner, Err(Error::Axis { axis: 7, rank: 1, .. })));
        zeros([2]).sum_dim(8)
    });
    assert!(matches!(inner, Err(Error::Axis { axis: 8, .. })));
    assert_eq!(guard(|| 3), Ok(3));
    let foreign = catch_unwind(|| guard(|| panic::resume_unwind(Box::new("foreign"))));
    assert_eq!(foreign.unwrap_err().downcast_ref::<&str>(), Some(&"foreign"));
    // After a foreign panic the guard is left: an error is an ordinary panic with its text again.
    let outcome = quietly(|| zeros([2]).sum_dim(7));
    assert_eq!(outcome.0, "sum_dim: axis 7 is out of range for a tensor of rank 1");
}

/// The text and the line of the panic of `work`, not printed.
fn quietly<T>(work: impl FnOnce() -> T) -> (String, u32) {
    // The hook belongs to the process: one at a time, and other threads' panics pass on.
    static HOOK: Mutex<()> = Mutex::new(());
    let _one = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = Arc::new(Mutex::new(None));
    let (note, thread) = (seen.clone(), std::thread::current().id());
    let old = Arc::new(panic::take_hook());
    let other = old.clone();
    panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() != thread {
            return other(info);
        }
        let place = info.location().unwrap();
        *note.lock().unwrap() = Some((place.file().to_string(), place.line()));
    }));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    drop(panic::take_hook());
    panic::set_hook(Box::new(move |info| old(info)));
    let text = match outcome {
        Ok(_) => panic!("no panic"),
        Err(payload) => payload.downcast_ref::<String>().expect("a text").clone(),
    };
    let (file, line) = seen.lock().unwrap().take().expect("a panic of this thread");
    assert_eq!(file, file!(), "line {line}: {text}");
    (text, line)
}

#[test]
fn panics_point_at_the_line_of_the_caller() {
    let (a, b) = (zeros([2, 3]), zeros([2, 2]));
    let mut c = a.clone();
    let index = ints([7]);
    let lines = |works: Vec<(u32, Box<dyn FnOnce() + '_>)>| {
        for (line, work) in works {
            let (text, at) = quietly(work);
            assert_eq!(at, line, "{text}");
        }
    };
    #[rustfmt::skip]
    lines(vec![
        (line!(), Box::new(|| drop(&a + &b))),
        (line!(), Box::new(|| drop(a.clone() * &b))),
        (line!(), Box::new(|| c += &b)),
        (line!(), Box::new(|| drop(a.add(&b)))),
        (line!(), Box::new(|| drop(a.matmul(&a)))),
        (line!(), Box::new(|| drop(a.sum_dim(3)))),
        (line!(), Box::new(|| drop(a.var(3)))),
        (line!(), Box::new(|| drop(a.argmax(3)))),
        (line!(), Box::new(|| drop(a.reshape([7, 1])))),
        (line!(), Box::new(|| drop(a.reshape([-1, 4])))),
        (line!(), Box::new(|| drop(a.permute([0, 5])))),
        (line!(), Box::new(|| drop(a.expand([5, 5])))),
        (line!(), Box::new(|| drop(a.slice(Slice::new(0, None, 0))))),
        (line!(), Box::new(|| drop(a.flip([2])))),
        (line!(), Box::new(|| drop(a.narrow(0, 5, 5)))),
        (line!(), Box::new(|| drop(a.select(0, &index)))),
        (line!(), Box::new(|| drop(a.squeeze::<1>()))),
        (line!(), Box::new(|| drop(a.item::<f32>().to_string()))),
        (line!(), Box::new(|| drop(a.mask_where(b.equal(&b), &a)))),
        (line!(), Box::new(|| drop(a.greater(&b)))),
        (line!(), Box::new(|| drop(Tensor::cat(&[a.clone(), b.clone()], 0)))),
        (line!(), Box::new(|| drop(Tensor::stack::<3>(&[a.clone(), b.clone()], 0)))),
        (line!(), Box::new(|| drop(Tensor::<1>::from([[1.0]])))),
        (line!(), Box::new(|| drop(Tensor::<1>::full([2], 1, (&Device::cpu(), DType::I64))))),
        (line!(), Box::new(|| drop(activation::softmax(&a, 4)))),
        (line!(), Box::new(|| drop(module::dropout(&a, 2.0)))),
        (line!(), Box::new(|| drop(AnyTensor::cat(&[], 0)))),
    ]);
}
