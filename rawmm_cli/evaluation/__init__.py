"""How well a model draws and reads. An evaluator is a file with `measure(subject) -> {name: result}`.

evaluate.py    every evaluator in turn, and the results as JSON
results.py     what an evaluator gives: results, and the numbers of single prompts and pictures
subject.py     what an evaluator is given: a model that draws and reads, data, and how much to do
losses.py      evaluator: losses on held-out documents
classes.py     evaluator: drawings of classes seen by a classifier, pictures read by their class
attributes.py  evaluator: portraits drawn and read, one attribute at a time
captions.py    evaluator: pictures read word for word
questions.py   evaluator: questions about two pictures, and controls
sums.py        evaluator: sums of digits, written and drawn from any part
foreign.py     evaluator: prompts and pictures marked as outside of what the model has seen
seams.py       evaluator: seams of patches and sharpness of what was drawn
fidelity.py    evaluator: drawings as a set beside real pictures, and what can be learned from them
copies.py      evaluator: how near drawings are to training pictures
diversity.py   evaluator: how different drawings of one prompt are
drawn_text.py  evaluator: drawings of captions that are written on pictures, read back by OCR
steps.py       evaluator: how well a model draws in more or fewer steps
bits.py        evaluator: bits/dim of pictures under a diffusion model, a bound
cost.py        evaluator: evaluations, FLOPs, seconds and memory of a drawing
judges.py      classifiers of attributes, trained on portraits drawn for them
examples.py    drawings and captions to look at, beside what is real
"""
