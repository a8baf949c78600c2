async function handle(inputs) {
  return { turned: [...inputs.word].reverse().join("") };
}

module.exports = { handle };
