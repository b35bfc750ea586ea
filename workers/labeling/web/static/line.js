export default { template: "<div></div>", props: { words: Object } };
