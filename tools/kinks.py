"""Which side of their kinks the units of a network are on, for comparisons of gradients.

A unit whose input lies within rounding of a kink (of a ReLU at 0, of a window of a max-pool where two values are largest)
is on one side in one run and on the other in the next, both of them right, and every gradient before it is another one. A
`Kinks` keeps what sides a run of PyTorch takes, or makes a run take given ones. Of a run that cannot be watched, `near`,
`effects` and `choose` tell by its gradients.
"""
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

# Of each function: its kinks, and value and slope of each piece between them.
FLAT, LINE = (lambda z: z * 0, lambda z: z * 0), (lambda z: z, lambda z: z * 0 + 1)
PIECES = {"relu": ([0], [FLAT, LINE]),
          "hardtanh": ([0, 6], [FLAT, LINE, (lambda z: z * 0 + 6, lambda z: z * 0)]),  # as ReLU6
          "hardsigmoid": ([-3, 3], [FLAT, (lambda z: z / 6 + 0.5, lambda z: z * 0 + 1 / 6),
                                    (lambda z: z * 0 + 1, lambda z: z * 0)]),
          "hardswish": ([-3, 3], [FLAT, (lambda z: z * (z + 3) / 6, lambda z: (2 * z + 3) / 6), LINE])}


def windows(z, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """Values and places of the largest and of the second of each window, as [image, channel, window] each."""
    _, first = F.max_pool2d(z, kernel_size, stride, padding, dilation, ceil_mode, return_indices=True)
    places = torch.arange(z.shape[2] * z.shape[3], dtype=torch.float64).view(1, 1, *z.shape[2:])
    right = (first.shape[2] - 1) * (stride or kernel_size) + dilation * (kernel_size - 1) + 1 - padding
    pad = (padding, max(right - z.shape[3], 0), padding, max(right - z.shape[2], 0))
    cut = {"kernel_size": kernel_size, "stride": stride or kernel_size, "dilation": dilation}
    places = F.unfold(F.pad(places, pad, value=-1), **cut)[0].long()  # [offset][window]
    values = F.unfold(F.pad(z, pad, value=-torch.inf).flatten(0, 1).unsqueeze(1), **cut)
    best = first.flatten(2)
    others = values.view(*z.shape[:2], *values.shape[1:]).masked_fill(places == best.unsqueeze(2), -torch.inf)
    second, offset = others.max(2)
    return (z.flatten(2).gather(2, best), best), (second, places[offset, torch.arange(places.shape[1])])


class Kinks(TorchFunctionMode):
    """Around a run in float64, of which it keeps all; with `beside`, the Kinks of that, around the same run in float32, of
    which it keeps sides, and how far its inputs are from the other's; with `sides`, around a run that takes these."""

    def __init__(self, beside=None, sides=None, reversed_batch=False):
        super().__init__()
        self.beside, self.given, self.reversed = beside, sides, reversed_batch
        self.keeps = beside is None and sides is None
        self.sides, self.inputs, self.outputs, self.calls, self.deviations = [], [], [], [], []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "max_pool2d":
            kwargs.pop("return_indices", None)
            return self.pool(func, *args, **kwargs)
        return self.activation(func, name, *args, **kwargs) if name in PIECES else func(*args, **kwargs)

    def ordered(self, tensor):
        return tensor.flip(0) if self.reversed else tensor

    def watch(self, z, sides):
        """Of a run in float32."""
        exact = self.beside.inputs[len(self.sides)].detach()
        self.deviations.append((self.ordered(z).double() - exact).abs().max().item())
        self.sides.append(self.ordered(sides))

    def keep(self, call, z, out, sides):
        if self.keeps:
            if out.requires_grad:
                out.retain_grad()
            self.inputs.append(z)
            self.outputs.append(out)
            self.calls.append(call)
        self.sides.append(sides)
        return out

    def activation(self, func, name, z, *args, **kwargs):
        kinks, pieces = PIECES[name]
        sides = sum((z.detach() > kink).to(torch.int8) for kink in kinks)
        if self.beside:
            self.watch(z.detach(), sides)
            return func(z, *args, **kwargs)
        if self.given is not None:
            sides = self.given[len(self.sides)]
        out = pieces[0][0](z)
        for i, (value, _) in enumerate(pieces[1:], 1):
            out = torch.where(sides == i, value(z), out)
        return self.keep((name, ()), z, out, sides)

    def pool(self, func, z, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
        cut = (kernel_size, stride, padding, dilation, ceil_mode)
        pooled, places = F.max_pool2d(z, *cut, return_indices=True)
        if self.beside:
            self.watch(z.detach(), places)
            return func(z, *cut)
        if self.given is not None:
            places = self.given[len(self.sides)]
        out = z.flatten(2).gather(2, places.flatten(2)).view(pooled.shape)
        return self.keep(("max_pool2d", cut), z, out, places)


def near(exact, singles, factor):
    """Units of which the side matters and that lie within `factor` times the largest deviation of the float32 runs of a
    kink: (call, unit, other side, [(place among the inputs, change of the gradient there)...])."""
    found = []
    for i, (name, cut) in enumerate(exact.calls):
        reach = factor * max(single.deviations[i] for single in singles)
        z, grad = exact.inputs[i].detach(), exact.outputs[i].grad
        if name == "max_pool2d":
            (first, best), (second, other) = windows(z, *cut)
            grad, width = grad.flatten(2), z.shape[3]
            ties = (first - second <= reach) & (first > second) & (grad != 0)
            for at in map(tuple, ties.nonzero().tolist()):
                places = [(*at[:2], *divmod(place[at].item(), width)) for place in (best, other)]
                found.append((i, at, other[at], [(places[0], -grad[at]), (places[1], grad[at])]))
            continue
        kinks, pieces = PIECES[name]
        for k, kink in enumerate(kinks):
            for at in map(tuple, (((z - kink).abs() <= reach) & (grad != 0)).nonzero().tolist()):
                side = exact.sides[i][at].item()
                other = 2 * k + 1 - side
                change = grad[at] * (pieces[other][1](z[at]) - pieces[side][1](z[at]))
                found.append((i, at, other, [(at, change)]))
    return found


def turned(exact, units):
    """The sides of a run, with those of some units changed."""
    sides = [part.clone() for part in exact.sides]
    for i, at, other, _ in units:
        part = sides[i].flatten(2) if exact.calls[i][0] == "max_pool2d" else sides[i]
        part[at] = other
    return sides


def effects(exact, units, parameters, sample):
    """What a turn of each unit adds to the gradients of the parameters, to first order; of a sample of them, a row each."""
    rows = []
    for i, _, _, changes in units:
        seed = torch.zeros_like(exact.inputs[i])
        for place, change in changes:
            seed[place] += change
        gradients = torch.autograd.grad(exact.inputs[i], parameters, seed, retain_graph=True, allow_unused=True)
        rows.append(torch.cat([torch.zeros(len(at)) if g is None else g.flatten()[at].float()
                               for g, at in zip(gradients, sample)]))
    return torch.stack(rows)


def choose(rows, difference):
    """Which rows add up to the difference, nearly: each that brings it nearer is taken or put back, the best first."""
    gram, along = (rows @ rows.T).double(), (rows @ difference.float()).double()
    taken = torch.zeros(len(rows), dtype=torch.float64)
    while True:
        gain = (1 - 2 * taken) * 2 * (along - gram @ taken) - gram.diagonal()
        best = gain.argmax()
        if gain[best] <= 0:
            return taken.bool()
        taken[best] = 1 - taken[best]
