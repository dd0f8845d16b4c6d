//go:build race

package sequencer

// manySeeds is how many seeds the pipeline is run with by itself; the race detector slows each down by ten.
const manySeeds = 25
