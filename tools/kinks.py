"""Which side of their kinks the units of a network are on, for comparisons of gradients.

A unit whose input lies within rounding of a kink (of a ReLU at 0, of a window of a max-pool where two values are largest)
is on one side in one run and on the other in the next, both of them right, and every gradient before it is another one. A
`Kinks` keeps what sides a run of PyTorch takes, or makes a run take given ones. Of a run that cannot be watched, `near`,
`effects` and `choose` tell by its gradients. As a script it checks itself.
"""
import copy
import itertools
import math

import needs

needs.packages(__doc__, "torch")

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
MONOTONE = ("relu", "hardtanh", "hardsigmoid")


def ranks_of(z):
    """By what a window chooses among values: where an activation made them all 0, by what it was given. The unit nearest
    to its kink is the one that a run would choose which has it on the other side."""
    return getattr(z, "ranks", z).detach()


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
        if name == "cat":
            return self.cat(func, *args, **kwargs)
        if name == "max_pool2d":
            kwargs.pop("return_indices", None)
            return self.pool(func, *args, **kwargs)
        return self.activation(func, name, *args, **kwargs) if name in PIECES else func(*args, **kwargs)

    def ordered(self, tensor):
        return tensor.flip(0) if self.reversed else tensor

    def cat(self, func, parts, dim=0, **kwargs):
        """What activations made, side by side, is still that."""
        out, ranks = func(parts, dim, **kwargs), [getattr(part, "ranks", None) for part in parts]
        if all(rank is not None for rank in ranks):
            out.ranks = torch.cat(ranks, dim)
        return out

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
        # On a kink itself the slope is the flat piece's, or the line's of hardswish: below the first, above the second.
        sides = sum(((z.detach() > kink) if kink <= 0 else (z.detach() >= kink)).to(torch.int8) for kink in kinks)
        if self.beside:
            self.watch(z.detach(), sides)
            return func(z, *args, **kwargs)
        if self.given is not None:
            sides = self.given[len(self.sides)]
        out = pieces[0][0](z)
        for i, (value, _) in enumerate(pieces[1:], 1):
            out = torch.where(sides == i, value(z), out)
        if name in MONOTONE:
            out.ranks = z.detach()
        return self.keep((name, ()), z, out, sides)

    def pool(self, func, z, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
        cut = (kernel_size, stride, padding, dilation, ceil_mode)
        _, places = F.max_pool2d(ranks_of(z), *cut, return_indices=True)
        if self.beside:
            self.watch(z.detach(), places)
            return func(z, *cut)
        if self.given is not None:
            places = self.given[len(self.sides)]
        out = z.flatten(2).gather(2, places.flatten(2)).view(places.shape)
        return self.keep(("max_pool2d", cut), z, out, places)


def near(exact, singles, factor):
    """Units of which the side matters and that lie within `factor` times the largest deviation of the float32 runs of a
    kink: (call, unit, other side, [(place among the inputs, change of the gradient there)...])."""
    found = []
    for i, (name, cut) in enumerate(exact.calls):
        reach = factor * max(single.deviations[i] for single in singles)
        z, grad = exact.inputs[i].detach(), exact.outputs[i].grad
        if name == "max_pool2d":
            (first, best), (second, other) = windows(ranks_of(exact.inputs[i]), *cut)
            grad, width = grad.flatten(2), z.shape[3]
            matters = z.flatten(2).gather(2, best) > z.flatten(2).gather(2, other)
            ties = (first - second <= reach) & matters & (grad != 0)
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


# ---- a check of the above ----

KINKY = {"relu": torch.nn.ReLU, "hardtanh": torch.nn.ReLU6, "hardsigmoid": torch.nn.Hardsigmoid,
         "hardswish": torch.nn.Hardswish}


class Small(torch.nn.Module):
    """A convolution, a max-pool, and before it (of halves of the channels) or after it an activation; and a linear layer.
    `nudge` moves what the first gives."""

    def __init__(self, activation, pool_first):
        super().__init__()
        self.conv, self.linear, self.activation = torch.nn.Conv2d(3, 4, 1), torch.nn.Linear(16, 2), activation()
        self.pool_first, self.nudge = pool_first, 0

    def forward(self, x):
        z = self.conv(x) + self.nudge
        if self.pool_first:
            z = self.activation(F.max_pool2d(z, 2))
        else:
            z = F.max_pool2d(torch.cat([self.activation(z[:, :2]), self.activation(z[:, 2:])], 1), 2)
        return self.linear(z.flatten(1))


def small_case(name, pool_first, above):
    """A network and its images, of which a unit for each kink and two values of a window are within rounding, on this side:
    (network, images, [(call, unit)...], what moves the conv's outputs so that one of them is on the other side, each)."""
    torch.manual_seed(4)
    network, x = Small(KINKY[name], pool_first), torch.randn(2, 3, 4, 4)
    kinks, weight, bias = PIECES[name][0], network.conv.weight.detach().double().flatten(1), network.conv.bias.detach()

    def given():
        return torch.einsum("oc,nchw->nohw", weight, x.double()) + bias.double().view(-1, 1, 1)

    def moved(place, by):
        z = torch.zeros(2, 4, 4, 4, dtype=torch.float64)
        z[place] = by
        return z

    bias[2] += sum(kinks) / len(kinks) + (len(kinks) == 1) - windows(given(), 2)[0][0][1, 2, 3]
    (_, best), (_, other) = windows(given(), 2)
    best, other = (divmod(places[1, 2, 3].item(), 4) for places in (best, other))
    gap = given()[(1, 2, *best)] - given()[(1, 2, *other)]
    x[(1, slice(None), *other)] += (weight[2] * (gap - 2e-7) / weight[2].square().sum()).float()
    gap = given()[(1, 2, *best)] - given()[(1, 2, *other)]
    place = other if gap > 0 else best
    units, moves = [(0 if pool_first else 2, (1, 2, 3))], [moved((1, 2, *place), 2 * gap.abs())]
    for channel, kink in enumerate(kinks):
        (first, places), _ = windows(given(), 2)
        place, far = divmod(places[0, channel, 1].item(), 4), first[0, channel, 1] - bias[channel].double()
        bias[channel] = kink - far
        while (far + bias[channel].double() > kink) != above:
            bias[channel] = torch.nextafter(bias[channel], torch.tensor(math.inf if above else -math.inf))
        moves.append(moved((0, channel, *place), 2 * (kink - far - bias[channel].double())))
        units.append((int(pool_first), (0, channel, *((0, 1) if pool_first else place))))
    return network, x, units, moves


def gradients_of(network, x, watched=None):
    network.zero_grad()
    if watched:
        with watched:
            loss = F.cross_entropy(network(x), torch.tensor([0, 1]))
    else:
        loss = F.cross_entropy(network(x), torch.tensor([0, 1]))
    loss.backward(retain_graph=watched is not None and watched.keeps)
    return torch.cat([p.grad.flatten() for p in network.parameters()]).double()


def differ(a, b):
    return (a - b).norm() > 1e-5 * b.norm()


def check_case(name, pool_first, above):
    network, x, units, moves = small_case(name, pool_first, above)
    double, exact = copy.deepcopy(network).double(), Kinks()
    own = gradients_of(double, x.double(), exact)
    singles = [Kinks(beside=exact, reversed_batch=backwards) for backwards in (False, True)]
    single = gradients_of(network, x, singles[0])
    with singles[1]:
        network(x.flip(0))
    found = near(exact, singles, 4)
    if sorted((i, at) for i, at, _, _ in found) != sorted(units):
        return f"near kinks are {sorted(units)}, and found {sorted(unit[:2] for unit in found)}"
    found.sort(key=lambda unit: units.index(unit[:2]))
    if differ(single, gradients_of(double, x.double(), Kinks(sides=singles[0].sides))):
        return "a run in float32 is explained badly by the sides that it takes"
    parameters = list(double.parameters())
    rows = effects(exact, found, parameters, [torch.arange(p.numel()) for p in parameters])
    alone = [[i == j for j in range(len(units))] for i in range(len(units))]
    for taken in ([False] * len(units), *alone, [True] * len(units)):
        double.nudge = sum((move for move, other in zip(moves, taken) if other), torch.zeros(()))
        others = gradients_of(double, x.double())
        double.nudge = 0
        if choose(rows, others - own).tolist() != taken:
            return f"sides {taken} are not told by gradients"
        if any(taken) and differ(rows[taken].sum(0).double(), others - own):
            return f"what sides {taken} add to gradients is not as foretold"
        sides = turned(exact, [unit for unit, other in zip(found, taken) if other])
        if differ(others, gradients_of(double, x.double(), Kinks(sides=sides))):
            return f"sides {taken} explain gradients badly"
    return None


def check():
    """Of every function, before and after a max-pool: what is within rounding of a kink and of another value of its window is
    found, and nothing else; and on what sides another run is, which its gradients tell."""
    for name, pool_first, above in itertools.product(KINKY, (True, False), (True, False)):
        if pool_first or name in MONOTONE:
            wrong = check_case(name, pool_first, above)
            if wrong:
                raise SystemExit(f"kinks.py: {name} {'after' if pool_first else 'before'} a max-pool: {wrong}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    check()
