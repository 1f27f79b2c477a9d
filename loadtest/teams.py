"""Teams, players, maps and weapons of the simulated matches; all of them invented."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Team:
    """A team with its players' handles; `skill` moves its chances, 0 is average."""

    id: str
    name: str
    players: tuple[str, ...]
    skill: float


@dataclass(frozen=True, slots=True)
class Title:
    """A game that is played: its slug, its maps and what players shoot with."""

    slug: str
    name: str
    cup: str
    maps: tuple[str, ...]
    weapons: tuple[str, ...]


def _team(name: str, skill: float, players: str) -> Team:
    return Team(name.lower().replace(" ", "-"), name, tuple(players.split()), skill)


TEAMS = (
    _team("Northlight", 0.5, "vesper ohmlet quarrel tindra moss"),
    _team("Paper Tigers", 0.2, "origami kirin foldr ink_9 sable"),
    _team("Iron Harbor", 0.4, "anchor bosun keelo drydock salt"),
    _team("Velvet Static", 0.1, "hush reverb tape noisefloor luma"),
    _team("Copper Foxes", 0.0, "reynard brush patina kit ember"),
    _team("Null Island", -0.1, "zerozero buoy meridian drift atoll"),
    _team("Gravity Club", 0.3, "apogee tumble newt plumb lagrange"),
    _team("Sunday League", -0.5, "gaffer halfpint bootroom offside nutmeg"),
    _team("Monsoon", 0.2, "petrichor squall delta nimbus reed"),
    _team("Glass Cannon", 0.1, "shard prism bevel facet crown"),
    _team("Tall Grass", -0.2, "rustle cricket meadow burr fen"),
    _team("Redshift", 0.4, "parallax doppler quasar halo ion"),
    _team("Last Bus Home", -0.3, "nightline depot transferr hopstop owl"),
    _team("Polar Parade", 0.0, "auklet floe igloo skua drumline"),
    _team("Cinder Row", 0.2, "clinker soot flint bellows ashby"),
    _team("Kite Theory", -0.1, "tether gust spar delta_v bowline"),
    _team("Slow Thunder", 0.3, "rumble afterglow cumulo static_j brontide"),
    _team("Lantern Club", 0.1, "wick moth tallow glim beacon9"),
    _team("Sixth Floor", -0.2, "stairwell lobbyist elevatr annex mezzo"),
    _team("Wild Fennel", 0.0, "anise caraway sorrel dill chervil"),
    _team("Harbour Cats", -0.4, "mackerel tabby ropework kipper wharf"),
    _team("Quiet Riot Act", 0.2, "murmur tacit decibel lull sotto"),
    _team("Brass Comet", 0.4, "perigee tailspin coma_b gilt cornet"),
    _team("Second Breakfast", -0.1, "crumpet marmalade elevens toastrack jam"),
    _team("Blue Hour", 0.3, "gloam cobalt civil_dusk veil indigo"),
    _team("Stone Skippers", -0.3, "pebble ripple flatrock seven_hops cairn"),
    _team("Night Ferry", 0.1, "gangway ballast foghorn starboard wake"),
    _team("Ninth Wave", 0.0, "undertow crest riptide spindrift lee"),
)

TITLES = (
    Title(
        "vector-strike",
        "Vector Strike",
        "Aurora Cup",
        ("Foundry", "Saltworks", "Old Ferry", "Terrace", "Signal Hill"),
        ("Lark-7", "Corvid", "M9 Osprey", "Hammerfall", "Needle", "Bolt pistol"),
    ),
    Title(
        "orbital-arena",
        "Orbital Arena",
        "Perihelion Series",
        ("Ring Nine", "Docking Bay", "Solar Farm", "Hydroponics", "The Spindle"),
        ("Pulse lance", "Railcaster", "Arc blade", "Scatter coil", "Gravity mine"),
    ),
)
