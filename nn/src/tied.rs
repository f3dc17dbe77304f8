//! Second names of parameters, for `#[module(tied)]`.
//!
//! A weight that a model uses in two places is one parameter of one field, so gradients add up,
//! optimizers update it once and both places see it. What is left to do is that files know it by
//! both names: a walk over the model shows it once more, as tied.

use kiln_tensor::{AnyTensor, Error, fail};

use crate::module::{Path, Visitor, VisitorMut};

/// Whether parameters with the second name and with the first one were met.
struct Met {
    name: String,
    owner: String,
    named: bool,
    owned: Option<AnyTensor>,
}

impl Met {
    fn new(name: &Path<'_>, owner: &Path<'_>) -> Self {
        Self { name: name.to_string(), owner: owner.to_string(), named: false, owned: None }
    }

    fn note(&mut self, path: &Path<'_>, tensor: &AnyTensor) {
        self.named |= path.is(&self.name);
        if path.is(&self.owner) {
            self.owned = Some(tensor.clone());
        }
    }

    /// The tied parameter; none if the model has a parameter of its own under the second name.
    #[track_caller]
    fn tied(self) -> Option<AnyTensor> {
        if self.named {
            return None;
        }
        if self.owned.is_none() {
            let rule = format!("there is no parameter {} to tie {} to", self.owner, self.name);
            fail(Error::Argument { op: "tied", rule });
        }
        self.owned
    }
}

impl Visitor for Met {
    fn param(&mut self, path: &Path<'_>, tensor: &AnyTensor) {
        self.note(path, tensor);
    }
}

impl VisitorMut for Met {
    fn param(&mut self, path: &Path<'_>, tensor: &mut AnyTensor) {
        self.note(path, tensor);
    }
}

/// Shows the parameter `owner` to `visitor` under the second name `name`; `visit` walks over the
/// fields of the module at `path` where both could be.
#[doc(hidden)]
pub fn visit_tied(
    path: &Path<'_>,
    [name, owner]: [&str; 2],
    visitor: &mut dyn Visitor,
    visit: &dyn Fn(&mut dyn Visitor),
) {
    let (name, owner) = (path.child(name), path.child(owner));
    let mut met = Met::new(&name, &owner);
    visit(&mut met);
    if let Some(tensor) = met.tied() {
        visitor.tied(&name, &owner, &tensor);
    }
}

/// As [`visit_tied`], to be changed.
#[doc(hidden)]
pub fn visit_tied_mut(
    path: &Path<'_>,
    [name, owner]: [&str; 2],
    visitor: &mut dyn VisitorMut,
    visit: &mut dyn FnMut(&mut dyn VisitorMut),
) {
    struct Show<'a> {
        name: Path<'a>,
        owner: Path<'a>,
        text: String,
        visitor: &'a mut dyn VisitorMut,
    }
    impl VisitorMut for Show<'_> {
        fn param(&mut self, path: &Path<'_>, tensor: &mut AnyTensor) {
            if path.is(&self.text) {
                self.visitor.tied(&self.name, &self.owner, tensor);
            }
        }
    }
    let (name, owner) = (path.child(name), path.child(owner));
    let mut met = Met::new(&name, &owner);
    visit(&mut met);
    if met.tied().is_some() {
        visit(&mut Show { name, owner, text: owner.to_string(), visitor });
    }
}
