// Rules of ESLint itself, so that nothing but ESLint has to be installed. Types are tsc's task.
export default [
  {
    files: ["page/**/*.js"],
    languageOptions: { ecmaVersion: 2022, sourceType: "module" },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "array-callback-return": "error",
      "consistent-return": "error",
      eqeqeq: "error",
      "max-lines": ["error", 300],
      "no-const-assign": "error",
      "no-dupe-keys": "error",
      "no-else-return": "error",
      "no-implicit-coercion": ["error", { allow: ["+", "!!"] }],
      "no-shadow": "error",
      "no-unreachable": "error",
      "no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "no-use-before-define": ["error", { functions: false, classes: false, variables: false }],
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-const": "error",
      "prefer-template": "off",
    },
  },
];
