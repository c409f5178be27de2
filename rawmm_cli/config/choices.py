"""The words among which settings choose, each list written here alone.

Neither torch nor pydantic is imported: the command line shows these lists in its help."""

from typing import Literal, get_args

Prediction = Literal["clean", "noise", "velocity"]
Solver = Literal["euler", "heun", "dpm2m", "ab2", "ancestral", "sde_dpm2m"]
Grid = Literal["uniform", "shifted", "quantiles"]
Precision = Literal["auto", "fp32", "bf16"]
Schedule = Literal["cosine", "linear", "square", "arccos"]
Order = Literal["confidence", "halton", "random"]
Guide = Literal["ab", "a", "b"]
Positions = Literal["linear", "ntk", "yarn", "plain"]
Task = Literal["continue", "caption"]
# Evaluators (`evaluation/`): those that run where nothing is said, and FURTHER ones, which take longer.
Usual = Literal["losses", "classes", "attributes", "captions", "questions", "sums", "seams", "foreign"]
FURTHER: tuple[str, ...] = ("fidelity", "copies", "diversity", "drawn_text", "steps", "bits", "cost")

SOLVERS: tuple[str, ...] = get_args(Solver)
GRIDS: tuple[str, ...] = get_args(Grid)
PRECISIONS: tuple[str, ...] = get_args(Precision)
ORDERS: tuple[str, ...] = get_args(Order)
POSITIONS: tuple[str, ...] = get_args(Positions)
TASKS: tuple[str, ...] = get_args(Task)
USUAL: tuple[str, ...] = get_args(Usual)
EVALUATORS: tuple[str, ...] = (*USUAL, *FURTHER)
TUNED = "tuned"  # the grid that `rawmm tune-sampler` stored beside a model
LISTS = (
    "code_temperature",
    "code_top_k",
    "code_top_p",
)  # settings of drawing: one value, or one for each scale
