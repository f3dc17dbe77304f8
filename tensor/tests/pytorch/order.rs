//! Sorting, selection, running totals, statistics and searches: `fixtures/order.py`.

use kiln_tensor::{Bool, Float, Int, Kind, QuantileInterpolation, Tensor};

use crate::fixture::{Fixture, SHORT, load};

static TORCH: Fixture = Fixture::new(|| load(include_bytes!("../fixtures/order.safetensors")));

/// Values and indices are PyTorch's, bit for bit.
#[track_caller]
fn same_pair<const D: usize, K: Kind>(
    name: &str,
    (values, indices): (Tensor<D, K>, Tensor<D, Int>),
) {
    TORCH.same(&format!("{name}.values"), values.as_any());
    TORCH.same(&format!("{name}.indices"), indices.as_any());
}

/// The same values behind the strides of a transposed, reversed view.
fn tangled<const D: usize, K: Kind>(x: &Tensor<D, K>) -> Tensor<D, K> {
    let turned = x.swap_dims(0, D - 1).flip([0]).contiguous();
    turned.flip([0]).swap_dims(0, D - 1)
}

fn sorts<const D: usize, K: Kind>(name: &str) {
    let x = TORCH.get::<D, K>(name);
    for x in [tangled(&x), x] {
        for dim in 0..D {
            let name = |down: &str| format!("sort.{name}.{dim}.{down}");
            same_pair(&name("False"), x.sort_with_indices(dim));
            same_pair(&name("True"), x.sort_descending_with_indices(dim as i32 - D as i32));
        }
    }
}

#[test]
fn sorting_with_ties_nan_and_infinities() {
    sorts::<2, Float>("ties");
    sorts::<3, Int>("ints");
    sorts::<3, Float>("smooth");
    sorts::<2, Bool>("bools");
}

#[test]
fn selection() {
    let (x, ints) = (TORCH.get::<3, Float>("smooth"), TORCH.get::<3, Int>("ints"));
    for dim in 0..3 {
        same_pair(&format!("topk.{dim}.True"), x.topk_with_indices(3, dim));
        same_pair(&format!("topk.{dim}.False"), x.topk_smallest_with_indices(3, dim));
        same_pair(&format!("kth.{dim}"), tangled(&x).kthvalue(2, dim));
        same_pair(&format!("median.{dim}"), x.median_with_indices(dim));
        TORCH.same(&format!("median.ints.{dim}"), ints.median(dim).as_any());
        let (mode, at) = ints.mode(dim);
        TORCH.same(&format!("mode.ints.{dim}"), mode.as_any());
        ints.gather(dim, at).to_data().assert_eq(&mode.to_data(), true);
    }
    let ties = TORCH.get::<2, Float>("ties");
    TORCH.same("topk.ties", ties.topk(4, 1).as_any());
    TORCH.same("kth.ties", ties.kthvalue(9, 1).0.as_any());
    TORCH.same("median.ties", ties.median(1).as_any());
    TORCH.same("nanmedian.ties", ties.nanmedian(1).as_any());
}

#[test]
fn quantiles() {
    use QuantileInterpolation::*;
    let (x, ties) = (TORCH.get::<3, Float>("smooth"), TORCH.get::<2, Float>("ties"));
    let q = TORCH.get::<1, Float>("q");
    for (name, how) in [
        ("linear", Linear),
        ("lower", Lower),
        ("higher", Higher),
        ("nearest", Nearest),
        ("midpoint", Midpoint),
    ] {
        for dim in 0..3 {
            TORCH.near(
                &format!("quantile.{name}.{dim}"),
                x.quantiles(&q, dim, how).as_any(),
                SHORT,
            );
        }
        TORCH.near(&format!("quantile.{name}.one"), x.quantile(0.3, 1, how).as_any(), SHORT);
        TORCH.near(&format!("quantile.{name}.ties"), ties.quantiles(&q, -1, how).as_any(), SHORT);
        let y = ties.nanquantiles(&q, -1, how);
        TORCH.near(&format!("nanquantile.{name}.ties"), y.as_any(), SHORT);
    }
}

#[test]
fn running_totals() {
    let ints = TORCH.get::<3, Int>("ints");
    for dim in 0..3 {
        for kind in ["smooth", "zeros"] {
            let x = TORCH.get::<3, Float>(kind);
            for x in [tangled(&x), x] {
                let name = |name: &str| format!("scan.{name}.{kind}.{dim}.y");
                TORCH.near(&name("cumsum"), x.cumsum(dim).as_any(), SHORT);
                TORCH.near(&name("cumprod"), x.cumprod(dim).as_any(), SHORT);
                TORCH.near(&name("logcumsumexp"), x.logcumsumexp(dim).as_any(), SHORT);
            }
        }
        let x = TORCH.get::<3, Float>("smooth");
        same_pair(&format!("scan.cummax.smooth.{dim}"), x.cummax_with_indices(dim));
        same_pair(&format!("scan.cummin.smooth.{dim}"), x.cummin_with_indices(dim));
        same_pair(&format!("scan.cummax.ints.{dim}"), ints.cummax_with_indices(dim));
        same_pair(&format!("scan.cummin.ints.{dim}"), tangled(&ints).cummin_with_indices(dim));
        TORCH.same(&format!("scan.cumsum.ints.{dim}"), ints.cumsum(dim).as_any());
        TORCH.same(&format!("scan.cumprod.ints.{dim}"), ints.cumprod(dim).as_any());
    }
    let ties = TORCH.get::<2, Float>("ties");
    same_pair("scan.cummax.ties", ties.cummax_with_indices(1));
    same_pair("scan.cummin.ties", ties.cummin_with_indices(1));
    TORCH.near("scan.cumsum.ties", ties.cumsum(1).as_any(), SHORT);
    TORCH.near("scan.cumprod.ties", ties.cumprod(1).as_any(), SHORT);
    TORCH.near("scan.logcumsumexp.ties", ties.logcumsumexp(1).as_any(), SHORT);
    let wide = TORCH.get::<1, Float>("scan.wide").logcumsumexp(0);
    TORCH.near("scan.logcumsumexp.wide", wide.as_any(), SHORT);
}

#[test]
fn reductions_with_ties_nan_and_infinities() {
    let x = TORCH.get::<2, Float>("ties");
    for dim in 0..2 {
        let name = |name: &str| format!("{name}.{dim}");
        TORCH.near(&name("nansum"), x.nansum_dim(dim).as_any(), SHORT);
        TORCH.near(&name("nanmean"), x.nanmean_dim(dim).as_any(), SHORT);
        TORCH.same(&name("count"), x.count_nonzero_dim(dim).as_any());
        TORCH.same(&name("any"), x.any_dim(dim).as_any());
        TORCH.same(&name("all"), x.all_dim(dim).as_any());
        same_pair(&name("max"), x.max_dim_with_indices(dim));
        same_pair(&name("min"), x.min_dim_with_indices(dim));
        let (min, max) = x.aminmax_dim(dim);
        TORCH.same(&format!("aminmax.{dim}.min"), min.as_any());
        TORCH.same(&format!("aminmax.{dim}.max"), max.as_any());
    }
}

#[test]
fn statistics() {
    let x = TORCH.get::<3, Float>("smooth");
    for dim in 0..3 {
        for (name, correction) in [("0", 0.0), ("1", 1.0), ("2.5", 2.5)] {
            let var = x.var_correction(dim, correction);
            TORCH.near(&format!("var.{dim}.{name}"), var.as_any(), SHORT);
            let std = x.std_correction(dim, correction);
            TORCH.near(&format!("std.{dim}.{name}"), std.as_any(), SHORT);
        }
        TORCH.near(&format!("var.{dim}.1"), x.var_mean(dim).0.as_any(), SHORT);
        TORCH.near(&format!("std.{dim}.0"), x.std_bias(dim).as_any(), SHORT);
    }
    let flat: Tensor<2> = x.slice([0..4, 0..6, 0..1]).squeeze_dim(2);
    TORCH.near("cov.0", flat.cov(1, 0).as_any(), SHORT);
    TORCH.near("cov.1", flat.t().cov(0, 1).as_any(), SHORT);
    TORCH.near("corrcoef", flat.corrcoef().as_any(), SHORT);
    let rows = TORCH.get::<2, Float>("ties").select(0, Tensor::<1, Int>::from([1, 3]));
    TORCH.near("corrcoef.constant", rows.corrcoef().as_any(), SHORT);
}

#[test]
fn positions_and_masks() {
    let (x, ints) = (TORCH.get::<3, Float>("smooth"), TORCH.get::<3, Int>("ints"));
    for ints in [tangled(&ints), ints] {
        TORCH.same("argwhere", ints.argwhere().as_any());
    }
    TORCH.same("argwhere.ties", TORCH.get::<2, Float>("ties").argwhere().as_any());
    let mask = TORCH.get::<3, Bool>("mask");
    TORCH.same("masked", x.mask_select(&mask).as_any());
    TORCH.same("masked", tangled(&x).mask_select(tangled(&mask)).as_any());
    let part = x.narrow(0, 0, 1).mask_select(mask.narrow(1, 0, 1));
    TORCH.same("masked.broadcast", part.as_any());
}

fn distinct<const D: usize, K: Kind>(name: &str) {
    let x = TORCH.get::<D, K>(name);
    let part = |list: &str, part: &str| format!("{list}.{name}.{part}");
    let (values, inverse, counts) = x.unique_inverse_counts();
    TORCH.same(&part("unique", "values"), values.as_any());
    TORCH.same(&part("unique", "values"), x.unique().as_any());
    let numbers = inverse.mask_fill(x.not_equal(&x), -1);
    TORCH.same(&part("unique", "inverse"), numbers.as_any());
    let again = values.select(0, inverse.flatten::<1>(0, D - 1)).reshape(x.dims());
    again.to_data().assert_eq(&x.to_data(), true);
    TORCH.same(&part("unique", "counts"), counts.as_any());
    let (values, inverse, counts) = x.unique_consecutive_inverse_counts();
    TORCH.same(&part("consecutive", "values"), values.as_any());
    TORCH.same(&part("consecutive", "values"), x.unique_consecutive().as_any());
    TORCH.same(&part("consecutive", "inverse"), inverse.as_any());
    TORCH.same(&part("consecutive", "counts"), counts.as_any());
}

#[test]
fn distinct_values() {
    distinct::<2, Float>("ties");
    distinct::<3, Int>("ints");
    distinct::<2, Bool>("bools");
}

#[test]
fn counts_and_histograms() {
    let numbers = TORCH.get::<1, Int>("numbers");
    TORCH.same("bincount", numbers.bincount(12).as_any());
    TORCH.same("bincount.short", numbers.bincount(3).as_any());
    let weighted = numbers.bincount_weighted(TORCH.get::<1, Float>("weights"), 0);
    TORCH.near("bincount.weighted", weighted.as_any(), SHORT);
    let x = TORCH.get::<3, Float>("smooth");
    TORCH.same("histc", TORCH.get::<1, Float>("spread").histc(8, -3.0, 3.0).as_any());
    TORCH.same("histc.range", x.histc(5, 0.0, 0.0).as_any());
    TORCH.same("histc.constant", Tensor::<1>::from([2.0; 3]).histc(4, 0.0, 0.0).as_any());
    for (name, density) in [("False", false), ("True", true)] {
        let (heights, edges) = x.histogram(6, None, Some(&x.square()), density);
        TORCH.near(&format!("histogram.{name}"), heights.as_any(), SHORT);
        TORCH.near(&format!("histogram.{name}.edges"), edges.as_any(), SHORT);
    }
    let (heights, _) = x.histogram(7, Some((-1.0, 1.5)), None, false);
    TORCH.same("histogram.range", heights.as_any());
}

#[test]
fn searches() {
    let (rows, sought) = (TORCH.get::<2, Float>("rows"), TORCH.get::<2, Float>("sought"));
    let ints = TORCH.get::<3, Int>("ints");
    for (name, right) in [("False", false), ("True", true)] {
        TORCH.same(&format!("search.rows.{name}"), rows.searchsorted(&sought, right).as_any());
        let tangled = tangled(&rows).searchsorted(tangled(&sought), right);
        TORCH.same(&format!("search.rows.{name}"), tangled.as_any());
        let row: Tensor<1> = rows.narrow(0, 1, 1).squeeze_dim(0);
        TORCH.same(&format!("search.row.{name}"), sought.bucketize(row, right).as_any());
        let bounds = Tensor::<1, Int>::from([-2, 0, 0, 3]);
        TORCH.same(&format!("search.ints.{name}"), ints.bucketize(bounds, right).as_any());
    }
    let others = Tensor::<1>::from([2.0, -1.0, f32::NAN, f32::INFINITY]);
    TORCH.same("isin", sought.is_in(others).as_any());
    TORCH.same("isin.ints", ints.is_in(Tensor::<2, Int>::from([[3, -3], [1, 1]])).as_any());
}
