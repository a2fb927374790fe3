r"""Answers as models write them, and what each of them says: by hand, not by any marker."""

from __future__ import annotations

__all__ = ["LETTERS", "NO_LETTERS", "NO_NUMBERS", "NUMBERS", "OTHER_NUMBERS"]

LETTERS = {
    "A": [
        r"\boxed{A}", "Answer: A", "Answer: A because both terms cancel", "answer: a",
        "The correct option is A.", r"Answer: \(A\)", "Answer: A) 5 m/s", "**Final Answer: A**",
        "Answer: A\nI checked it twice.",
    ],
    "B": [
        r"\boxed{B) 12 nm}", r"\boxed{\text{B) the second law}}", r"\boxed{\mathbf{B}}",
        r"\boxed{\textbf{(B)}}", r"\boxed{(B)}", r"\boxed{ B }", r"\boxed{b}", r"\boxed{[B]}",
        r"\boxed{\text{Option B}}", r"\boxed{\text{Answer: B}}", r"\boxed{B: Vitamin D}",
        r"\boxed{\mathrm{B.}\ \text{Vitamin A}}", r"\boxed{\text{B - Class A amplifier}}",
        r"\boxed{\text{(B)}\ 10^{-9}\,\text{eV}}", r"\boxed {B}", r"\boxed B", r"\fbox{B}",
        r"$\boxed{\boxed{B}}$", r"\\boxed{B}", "Answer: B\u200b", "\uff21nswer\uff1a \uff22",
        r"We need $\Delta E$. Therefore \boxed{B}. Energy E is conserved.",
        r"\boxed{B}. I hope this helps! Do you have A follow-up?",
        r"The final answer is \boxed{B}. I think that is right.",
        "The final answer is B. I hope it is correct.", "So the final answer is: **B**.",
        "The best choice is (B), as E falls.", "The right answer is $B$.",
        r"First \boxed{A}, but no: \boxed{B}", "Answer: A\n\nWait, that is wrong.\n\nAnswer: B",
        r"\boxed{\Delta A}" "\n\nAnswer: B", r"\boxed{E = mc^2}" "\n**Answer:** B",
        r"\boxed{C_6H_{12}O_6}, which is choice two. Answer: B", r"\boxed{}" "\nAnswer: B",
        "<think>It could be A. Answer: A</think>It is the second.\nAnswer: B",
        "<think>\\boxed{A}?</think>\n\\boxed{B}", "Answer: B\n\nQuestion: What is mass?\nAnswer: D",
        "B\n\nQuestion: Which is the lightest?\nA) H\nB) He\nAnswer: A",
    ],
    "C": [
        "Answer: C", "Answer: C.", "Answer: **C**", "**Answer**: C", "**Answer:** C",
        "**Answer: C**", "__Answer__: C", "*Answer*: *C*", "Answer: $C$", "Answer: (C)",
        "Answer: [C]", "Answer: <C>", 'Answer: "C"', "Answer: `C`", "Answer:C", "Answer : C",
        "Answer\uff1aC", "ANSWER: C", "answer: c", "answer: (c)", "Answer: c) 3 kg",
        r"Answer: \boxed{C}", r"Answer: $\boxed{\text{C}}$", r"Answer: \textbf{C}",
        r"\textbf{Answer: C}", r"\text{Answer: } C", r"Answer: \(C\)", "Answer:\nC",
        "Answer:\u00a0C", "Answer: Option C", "Answer: option (C)", "Answer: choice C",
        "Answer: C) 3 kg", "Answer: C. 3 kg", "Answer: C, since A and B break symmetry",
        "Answer: C - the third", "Answer: C \u2013 the third", "Answer: C (3 kg)",
        "Answer: C is the only one left", "Final Answer: C", "### Answer\nC", "## Final answer\n\n**C**",
        "Answer (one letter): C", "Answer = C", "Answer -> C", "Answer: the answer is C",
        "<b>Answer: C</b>", "Answer: C<|im_end|>\n<|im_start|>user\nAnswer: A",
        "The answer is C.", "The answer is (C).", "The answer must be **C**, not A.",
        "I choose C.", "I would go with option C.", "Option C is correct.",
        "Choice (C) is the right answer; A, B and D are not.", "C", "(C)", "C.", "**C**", "C) 3 kg",
        "Only the third fits.\n\n**C**",
    ],
    "D": [
        "so \\boxed{\\vec{A} \\cdot \\vec{B}}\n\nAnswer: D", "\\boxed{D, \\text{ because } A < B}",
        "Answer: Ａ\nNo:\nAnswer: Ｄ", "Answer: د",
    ],
}  # fmt: skip
"""Responses to a question with choices A to D, by the letter that they choose."""

NO_LETTERS = [
    "", "I do not know.", r"\boxed{}", r"\boxed{\text{ }}", "Answer:", "Answer: I cannot tell",
    "Answer: I think several fit", "Answer: a mixture of both", "Answer: A mixture of both",
    r"\boxed{\Delta E}", r"\boxed{E = mc^2}", r"\boxed{A\cdot B}", r"\boxed{B_0}", r"\boxed{C^{14}}",
    r"\boxed{D_2O}", r"\boxed{\mathcal{A}}", r"\boxed{3.2}", r"\boxed{\text{A mixture}}",
    "The answer is not A.", "The answer is a decrease in entropy.", "The answer depends on A.",
    "A mixture of both forms.", "A) is wrong. B) is wrong. C) may be.",
    "A is wrong.\nB is wrong.\nSo are the others.", "I hope it is correct.", "Vitamin C",
    "Let A be the area.", "I choose to stop here.", "Option A is not correct.",
    "I believe that B cells matter here.", "Answering: C students pass.",
]  # fmt: skip
"""Responses to such a question that choose nothing."""

NUMBERS = {
    "18": [
        "18", "18.", "18.0", "18.00", "+18", "(18)", "018", r"\text{18}", r"\textbf{18}",
        r"\mathbf{18}", r"\mathrm{18}", "$18$", r"\$18", "$18.00", r"\$\,18", "\u20ac18", "18 \u20ac",
        "\u00a318", r"\pounds 18", "USD 18", "18 USD", "US$18", "18 dollars", "18 dollars per day",
        r"18 \text{ eggs}", r"18\text{eggs}", r"18~\text{eggs}", r"18\ \mathrm{km}", "18 km", "18km",
        "18 km/h", "18 mph", "18 miles per hour", "18 m^2", "18 m\u00b2", r"18\,\text{cm}^3",
        r"18\text{ m}/\text{s}", "18 square feet", "18 sq. ft.", "18 years old", "18 more apples",
        "18 eggs left over", "18 times", "18 o'clock", "18 minutes and some change", "18th",
        "18%", r"18\%", "18 %", "18 percent", r"18\% \text{ of them}", "18\u00b0", r"18^\circ",
        r"18^{\circ}\text{C}", "\uff11\uff18", "\u0661\u0668", "\u096718".replace("18", "\u096e"),
        "18\u200b", "\u200e18", "\u00a018", "x = 18", "x=18", r"3 \times 6 = 18", r"\text{Total} = 18",
        "Total: 18", "The answer is 18", r"\text{Janet makes } \$18", r"\approx 18", "about 18",
        "36/2", r"\frac{36}{2}", r"\dfrac{36}{2}", r"1.8\times 10^1", "1.8e1", "1.80E+01", "18,0",
        "{18}", "**18**", "18 apples.", r"\left(18\right)", r"2 \cdot 9", "2 \u00d7 9", "25\\cents".replace("25", "18"),
    ],
    "-3": ["-3", "\u22123", "\u20133", "\u20103", "\uff0d3", "- 3", "-3.0", "(-3)", "negative 3",
           "minus 3", r"-\frac{6}{2}", r"\frac{-6}{2}", "-$3", "$-3", r"\text{--}3".replace("--", "-"),
           r"-3\,^\circ\text{C}"],
    "1000": ["1000", "1,000", "1{,}000", r"1\,000", "1 000", "1\u2009000", "1\u202f000",
             "1\u00a0000", "1'000", "1\u2019000", r"1\_000", r"1,\!000", r"1\!000", "1,000.00", "10^3",
             "10\u00b3", "10^{3}", r"1 \times 10^{3}", "1 x 10^3", "1\u00b710^3", "1*10**3", "1e3",
             "1k", "1 thousand", "\uff11\uff0c\uff10\uff10\uff10", r"\$1,000", "1,000 dollars"],
    "1234567.5": ["1,234,567.5", "1.234.567,5", "1 234 567,5", "12,34,567.5", "1'234'567.5"],
    "0.5": ["0.5", ".5", "0,5", "1/2", "\u00bd", r"\frac12", r"\tfrac{1}{2}", "50%", r"5\times10^{-1}",
            "5e-1", "\u00bd cup", "1\u20442", r"\frac{1}{2} \text{ hour}"],
    "2.5": ["2.5", "2 1/2", "2\u00bd", r"2\frac{1}{2}", "5/2", "2 and a half", "2 and a half hours"],
    "2000000": ["2 million", "2,000,000", "2M", r"\$2 \text{ million}", "2 million dollars"],
    "0.333333": [r"\frac{1}{3}", "1/3", "0.3333333"],
}  # fmt: skip
"""What a box holds, by the number that it says."""

OTHER_NUMBERS = [
    ("18, 20", "18"), ("18 or 20", "18"), (r"18 \text{ or } 20", "18"), ("18-20", "18"),
    ("18\u201320", "18"), ("18 to 20", "18"), ("18-20", "-2"), ("19", "18"), ("-18", "18"),
    ("0.5", "50"), ("0.18", "18"), ("18x", "18"), ("18xy", "18"), ("3 4", "34"), ("1 00", "100"),
    ("1,000,00", "100000"), ("1,000", "1"), ("1.000", "1000"), ("180", "18"), ("18.001", "18"),
    ("x=18, y=20", "20"), ("at least 18", "18"), ("more than 18", "18"), ("not 18", "18"),
    ("18 less than x", "18"), (r"x > 18", "18"), (r"x \neq 18", "18"), ("18 hours and 30 minutes", "18"),
    ("18:30", "18"), ("5 ft 11 in", "5"), ("18 and a half", "18"), (r"\frac{18}{0}", "18"),
    (r"18^2", "18"), (r"\sqrt{18}", "18"), ("18!", "18"), ("18i", "18"), (r"18\pi", "18"),
    ("1000001", "1000000"), ("7 + 5 = 12, so 13", "12"), ("twelve of 18", "18"), ("\u20133", "3"),
    ("2 thousand", "2000000"), ("18 million", "19"),
]  # fmt: skip
"""What a box holds, and a number that it does not say."""

NO_NUMBERS = [
    "", "I do not know.", r"\boxed{}", r"\boxed{ }", r"\boxed{\,}", r"\boxed{\text{}}", r"\boxed{?}",
    r"\boxed{...}", r"\boxed{\ldots}", r"\boxed{\quad}", r"\boxed{\text{ }}", r"\boxed{___}",
    r"\boxed{\boxed{}}", r"The answer is \boxed{18",
    "There are 18 of them.", "The answer is somewhere between 17 and 19.", "Is the answer 18?",
    "18 or 20", "####", "The answer is unclear: 18 or 20.",
]  # fmt: skip
"""Responses that give no number; 18 is the one that they do not give."""
