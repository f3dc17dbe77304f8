//! Linear algebra on numbers that can be checked by eye, and what a wrong use says.

use kiln_tensor::linalg::{self, Norm};
use kiln_tensor::{DType, Device, FloatDType, Int, Tensor, TensorData, einsum};

use crate::common::{close, equals, floats, ints, text};

fn matrix<const M: usize, const N: usize>(values: [[f32; N]; M]) -> Tensor<2> {
    Tensor::from(values)
}

#[test]
fn products_of_vectors_and_matrices() {
    let a = matrix([[1.0, 2.0], [3.0, 4.0]]);
    equals(linalg::diag::<2, 1, _>(&a), [1.0f32, 4.0]);
    equals(linalg::diag::<2, 1, _>(matrix([[1.0, 2.0, 3.0]])), [1.0f32]);
    equals(linalg::trace::<2, 1>(&a), [5.0f32]);
    equals(linalg::outer::<1, 2, _>(ints([1, 2, 3]), ints([4, 5])), [[4, 5], [8, 10], [12, 15]]);
    let outer: Tensor<3> = linalg::outer_dim(&a, matrix([[4.0, 5.0], [5.0, 6.0]]), 0);
    equals(outer, [[[4.0f32, 10.0], [5.0, 12.0]], [[12.0, 20.0], [15.0, 24.0]]]);
    equals(linalg::matvec::<2, 1, _>(&a, floats([5.0, 6.0])), [17.0f32, 39.0]);
    let whole = Tensor::<2, Int>::from([[2, 0, -1], [1, 3, 2]]);
    equals(linalg::matvec::<2, 1, _>(whole, ints([3, -2, 4])), [2, 5]);
    equals(linalg::dot(floats([1.0, 2.0]), floats([3.0, 4.0])), [11.0f32]);
    equals(linalg::vecdot::<2, 1, _>(&a, &a, 0), [10.0f32, 20.0]);
    equals(linalg::cross(ints([1, 2, 3]), ints([4, 5, 6]), 0), [-3, 6, -3]);
    equals(ints([1, 2, 3]).cross(ints([4, 5, 6]), -1), [-3, 6, -3]);
    equals(ints([1, 2, 3]).dot(ints([4, 5, 6])), [32]);
    let kron =
        linalg::kron(Tensor::<2, Int>::from([[1, 2]]), Tensor::<2, Int>::from([[1, 0], [0, 1]]));
    equals(kron, [[1, 0, 2, 0], [0, 1, 0, 2]]);
    equals(linalg::multi_dot(&[a.clone(), a.clone(), a.clone()]), [[37.0f32, 54.0], [81.0, 118.0]]);
    equals(
        linalg::addmv(floats([1.0, f32::NAN]), &a, floats([1.0, 1.0]), 0.0, 2.0),
        [6.0f32, 14.0],
    );
    equals(linalg::addmm(matrix([[1.0, 2.0]]), &a, &a, 2.0, 1.0), [[9.0f32, 14.0], [17.0, 26.0]]);
    let dots: Tensor<2> = linalg::tensordot(&a, &a, [0], [1]);
    equals(dots, [[7.0f32, 15.0], [10.0, 22.0]]);
    let inner: Tensor<1> = linalg::inner(&a, floats([1.0, 10.0]));
    equals(inner, [21.0f32, 43.0]);
}

#[test]
fn einsum_follows_the_equation() {
    let a = matrix([[1.0, 2.0], [3.0, 4.0]]);
    let v = floats([1.0, 10.0]);
    let shapes = |equation| {
        let x: Tensor<2> = linalg::einsum(equation, &[&a, &a]);
        x.to_data().to_vec::<f32>().unwrap()
    };
    assert_eq!(shapes("ij,jk->ik"), [7.0, 10.0, 15.0, 22.0]);
    assert_eq!(shapes(" i j , j k -> k i "), [7.0, 15.0, 10.0, 22.0]);
    assert_eq!(shapes("ij,jk"), shapes("ij,jk->ik"));
    // Sorted: the result of `ba,ac` has axes b, c; that of `Ba,ac` has B first too.
    assert_eq!(shapes("ba,ac"), shapes("ij,jk->ik"));
    assert_eq!(shapes("ca,ab"), shapes("ij,jk->ki"));
    assert_eq!(shapes("ca,aB"), shapes("ij,jk->ki"));
    assert_eq!(shapes("ij,ij->ij"), [1.0, 4.0, 9.0, 16.0]);
    assert_eq!(shapes("...j,jk->...k"), shapes("ij,jk->ik"));
    let diagonal: Tensor<1> = linalg::einsum("ii->i", &[&a]);
    equals(diagonal, [1.0f32, 4.0]);
    let sum: Tensor<0> = linalg::einsum("ij->", &[&a]);
    assert_eq!(sum.item::<f32>(), 10.0);
    let quadratic: Tensor<0> = linalg::einsum("i,ij,j", &[&v, &a, &v]);
    assert_eq!(quadratic.item::<f32>(), 451.0);
    let transposed: Tensor<2> = linalg::einsum("ba", &[&a]);
    equals(transposed, [[1.0f32, 3.0], [2.0, 4.0]]);
    let whole: Tensor<1, Int> =
        linalg::einsum("i,ij->j", &[&ints([1, 2]), &Tensor::<2, Int>::from([[1, 2], [3, 4]])]);
    equals(whole, [7, 10]);
    // An extent of 1 repeats, and the axes of an ellipsis line up from the right.
    let batch = Tensor::<3>::from([[[1.0, 2.0]], [[3.0, 4.0]]]);
    let y: Tensor<2> = linalg::einsum("bij,ij->bj", &[&batch, &a]);
    equals(y, [[4.0f32, 12.0], [12.0, 24.0]]);
    let y: Tensor<3> = linalg::einsum("...,...", &[&batch, &a]);
    equals(y, [[[1.0f32, 4.0], [3.0, 8.0]], [[3.0, 8.0], [9.0, 16.0]]]);
    let covered: Tensor<1> = linalg::einsum("...j->j", &[&batch]);
    equals(covered, [4.0f32, 6.0]);
    let empty: Tensor<2> = linalg::einsum(
        "ij,jk->ik",
        &[&Tensor::<2>::zeros([2, 0], &Device::cpu()), &Tensor::<2>::zeros([0, 3], &Device::cpu())],
    );
    equals(empty, [[0.0f32; 3]; 2]);
}

#[test]
fn einsum_knows_the_rank_from_its_equation() {
    let a = matrix([[1.0, 2.0], [3.0, 4.0]]);
    let v = floats([1.0, 10.0]);
    equals(einsum!("ij,j->i", &a, v.clone()), [21.0f32, 43.0]);
    equals(einsum!("ij,kj", &a, &a), [[5.0f32, 11.0], [11.0, 25.0]]);
    equals(einsum!("Ba", &a), [[1.0f32, 2.0], [3.0, 4.0]]);
    // Of shape [1], as is what no letter stands for.
    equals(einsum!("ii", &a), [5.0f32]);
    equals(einsum!("i,i->", ints([1, 2]), ints([3, 4])), [11]);
    equals(einsum!(",i->i", floats([2.0]), &v), [2.0f32, 20.0]);
    let rows: Tensor<2> = einsum!("...ij,j->...i", a.unsqueeze::<3>(), &v);
    equals(rows, [[21.0f32, 43.0]]);
    let equation = ["ij", "->", "j"].concat();
    equals(Tensor::<1>::einsum(&equation, [a.clone().into()]), [4.0f32, 6.0]);
    equals(Tensor::<0>::einsum("ij->", [(&a).into()]), TensorData::new(vec![10.0f32], []));
    assert!(text(|| Tensor::<2>::einsum("i->i", [v.clone().into()])).contains("rank"));
    assert!(text(|| Tensor::<1>::einsum("->", [v.into()])).contains("0 indices"));
    assert!(text(|| Tensor::<1>::einsum("->", [])).contains("at least one"));
}

#[test]
fn einsum_says_what_is_wrong_with_an_equation() {
    let a = matrix([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    let fails = |equation: &str, count: usize| {
        let operands: Vec<&dyn linalg::Operand> = vec![&a; count];
        text(|| linalg::einsum::<2, kiln_tensor::Float>(equation, &operands))
    };
    assert_eq!(fails("ij", 0), r#"einsum: "ij": at least one operand is needed"#);
    for (equation, count, rule) in [
        ("ij,jk", 1, "2 operands are named, 1 were given"),
        ("ij", 2, "1 operands are named, 2 were given"),
        ("ijk", 1, "operand 0 has shape [2, 3], but 3 indices"),
        ("i", 1, "operand 0 has shape [2, 3], but 1 indices"),
        ("...ijk", 1, "operand 0 has shape [2, 3], but 3 indices"),
        ("ii", 1, "i is repeated in operand 0, with extents 2 and 3"),
        ("ij,jk", 2, "j has extent 2 in operand 1, but 3 before"),
        ("i1", 1, "'1' is no index: indices are the letters a-z and A-Z"),
        ("i.", 1, "a dot that is not part of an ellipsis \"...\""),
        ("......ij", 1, "more than one ellipsis in \"......ij\""),
        ("ij->ii", 1, "i occurs twice in the result"),
        ("ij->ik", 1, "k of the result is in no operand"),
        ("ij->i->j", 1, "the result follows one \"->\""),
        ("ij-i", 1, "the result follows one \"->\""),
        ("ij->i,j", 1, "',' is no index: indices are the letters a-z and A-Z"),
    ] {
        assert_eq!(fails(equation, count), format!("einsum: \"{equation}\": {rule}"));
    }
}

#[test]
fn norms_of_vectors() {
    let x = matrix([[1.0, -2.0, 0.0], [0.0, 3.0, 4.0]]);
    equals(linalg::vector_norm(&x, Norm::L0, 0), [[1.0f32, 2.0, 1.0]]);
    equals(linalg::l1_norm(&x, 0), [[1.0f32, 5.0, 4.0]]);
    close(linalg::l2_norm(&x, 0), [[1.0f32, 3.6055512, 4.0]]);
    close(linalg::lp_norm(&x, 3.0, 0), [[1.0f32, 3.2710664, 4.0]]);
    equals(linalg::vector_norm(&x, f64::INFINITY, -1), [[2.0f32], [4.0]]);
    equals(linalg::min_abs_norm(&x, 1), [[0.0f32], [0.0]]);
    equals(linalg::lp_norm(&x, -2.0, 0).slice([0..1, 0..1]), [[0.0f32]]);
    equals(linalg::max_abs_norm(ints([1, -5]), 0), [5]);
    equals(linalg::l0_norm(ints([1, 0, -5]), 0), [2]);
    close(linalg::vector_normalize(&x, 1.0, 1, 10.0), [[0.1f32, -0.2, 0.0], [0.0, 0.3, 0.4]]);
    // The squares of these are past the largest f16.
    let half = floats([300.0, 400.0]).cast(DType::F16);
    equals(linalg::l2_norm(&half, 0).cast(DType::F32), [500.0f32]);
    assert_eq!(
        text(|| linalg::l2_norm(&x, 2)),
        "vector_norm: axis 2 is out of range for a tensor of rank 2"
    );
}

#[cfg(feature = "linalg")]
#[test]
fn norms_of_matrices() {
    use linalg::MatrixNorm;
    let x = matrix([[3.0, 0.0], [0.0, -4.0]]);
    for (norm, expected) in [
        (MatrixNorm::Fro, 5.0f32),
        (MatrixNorm::Nuc, 7.0),
        (MatrixNorm::One, 4.0),
        (MatrixNorm::NegOne, 3.0),
        (MatrixNorm::Two, 4.0),
        (MatrixNorm::NegTwo, 3.0),
        (MatrixNorm::Inf, 4.0),
        (MatrixNorm::NegInf, 3.0),
    ] {
        let y: Tensor<0> = linalg::matrix_norm(&x, norm);
        assert!((y.item::<f32>() - expected).abs() < 1e-5, "{norm:?}");
    }
    let cond: Tensor<0> = linalg::cond(&x, 2);
    assert!((cond.item::<f32>() - 4.0 / 3.0).abs() < 1e-6);
    let cond: Tensor<1> =
        linalg::cond(Tensor::<3>::from([[[1.0, 1.0], [1.0, 1.0]], [[2.0, 0.0], [0.0, 1.0]]]), 1);
    close(cond, [f32::INFINITY, 2.0]);
    assert!(text(|| MatrixNorm::from("two")).starts_with("matrix_norm: \"two\" is none of"));
}

#[test]
fn similarities_and_distances() {
    let x = matrix([[1.0, 0.0], [3.0, 4.0], [0.0, 0.0]]);
    let y = matrix([[2.0, 0.0], [-3.0, -4.0], [1.0, 0.0]]);
    close(linalg::cosine_similarity(&x, &y, 1, None), [[1.0f32], [-1.0], [0.0]]);
    let z = matrix([[0.0, 0.0], [3.0, 4.0]]);
    close(linalg::cdist(&x, &z, 2), [[1.0f32, 20f32.sqrt()], [5.0, 0.0], [0.0, 5.0]]);
    close(linalg::cdist(&x, &z, 1), [[1.0f32, 6.0], [7.0, 0.0], [0.0, 7.0]]);
    close(linalg::pdist(&x, f64::INFINITY), [4.0f32, 1.0, 4.0]);
    let distance: Tensor<1> = linalg::pairwise_distance(&x, &y, 2, 0.0);
    close(distance, [1.0f32, 10.0, 1.0]);
    let none = linalg::cdist(
        Tensor::<2>::zeros([2, 0], &Device::cpu()),
        Tensor::<2>::zeros([3, 0], &Device::cpu()),
        2,
    );
    equals(none, [[0.0f32; 3]; 2]);
}

#[test]
fn products_of_integer_matrices() {
    let whole =
        |n: i64, m: usize, k: usize| Tensor::<1, Int>::arange(0..n, &Device::cpu()).reshape([m, k]);
    let a = whole(6, 2, 3);
    equals(a.matmul(a.transpose()), [[5, 14], [14, 50]]);
    let batches = Tensor::<3, Int>::from([[[1, 0], [0, 1]], [[2, 0], [0, -1]]]);
    equals(batches.matmul(a.unsqueeze::<3>()), [[[0, 1, 2], [3, 4, 5]], [[0, 2, 4], [-3, -4, -5]]]);
    // More products than are held at a time.
    let (a, b) = (whole(200 * 90, 200, 90), whole(90 * 150, 90, 150));
    let expected = a.cast(FloatDType::F64).matmul(b.cast(FloatDType::F64));
    assert_eq!(a.matmul(&b).to_data(), expected.int().to_data());
    let narrow = Tensor::<2, Int>::from([[100]]).cast(DType::I8);
    let wrapped = narrow.matmul(&narrow);
    assert_eq!((wrapped.dtype(), wrapped.into_scalar::<i64>()), (DType::I8, 16));
    equals(whole(0, 2, 0).matmul(whole(0, 0, 2)), [[0, 0], [0, 0]]);
    let columns = text(|| b.matmul(&b));
    assert!(columns.contains("the left has 150 columns, the right 90 rows"), "{columns}");
    let single = floats([1.0, 2.0]);
    equals(single.dot(floats([3.0, 4.0])), [11.0f32]);
}
