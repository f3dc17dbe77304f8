//! Modules of the standard library: lists, options, tuples, and plain values without tensors.

use std::marker::PhantomData;

use crate::module::{Module, Path, Visitor, VisitorMut};

macro_rules! no_tensors {
    ($($type:ty)*) => {$(
        impl Module for $type {
            fn visit(&self, _: &Path<'_>, _: &mut dyn Visitor) {}
            fn visit_mut(&mut self, _: &Path<'_>, _: &mut dyn VisitorMut) {}
        }
    )*};
}
no_tensors!(f64 f32 i64 i32 u64 u32 u8 usize bool String);

impl<T> Module for PhantomData<T> {
    fn visit(&self, _: &Path<'_>, _: &mut dyn Visitor) {}
    fn visit_mut(&mut self, _: &Path<'_>, _: &mut dyn VisitorMut) {}
}

/// A value that is there or not, under one name.
impl<M: Module> Module for Option<M> {
    fn visit(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
        self.iter().for_each(|module| module.visit(path, visitor));
    }
    fn visit_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
        self.iter_mut().for_each(|module| module.visit_mut(path, visitor));
    }
}

impl<M: Module + ?Sized> Module for Box<M> {
    fn visit(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
        (**self).visit(path, visitor);
    }
    fn visit_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
        (**self).visit_mut(path, visitor);
    }
}

/// Modules under their index, as in `torch.nn.ModuleList`.
impl<M: Module> Module for Vec<M> {
    fn visit(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
        self.iter().enumerate().for_each(|(i, module)| module.visit(&path.index(i), visitor));
    }
    fn visit_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
        self.iter_mut()
            .enumerate()
            .for_each(|(i, module)| module.visit_mut(&path.index(i), visitor));
    }
}

impl<M: Module, const N: usize> Module for [M; N] {
    fn visit(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
        self.iter().enumerate().for_each(|(i, module)| module.visit(&path.index(i), visitor));
    }
    fn visit_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
        self.iter_mut()
            .enumerate()
            .for_each(|(i, module)| module.visit_mut(&path.index(i), visitor));
    }
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),*))*) => {$(
        impl<$($name: Module),*> Module for ($($name,)*) {
            fn visit(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
                $(self.$index.visit(&path.index($index), visitor);)*
            }
            fn visit_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
                $(self.$index.visit_mut(&path.index($index), visitor);)*
            }
        }
    )*};
}
tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
}
